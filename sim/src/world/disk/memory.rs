//! A disk that is pretended in memory, and loses on demand what no barrier covered.

use std::sync::Arc;

use leveret::storage::memory::{Fault, MemoryStorage};
use leveret::storage::{Key, Storage, StorageError};

use super::Medium;

/// See the top of the file.
#[derive(Default)]
pub(super) struct MemoryDisk(Arc<MemoryStorage>);

impl Medium for MemoryDisk {
    fn storage(&self) -> Arc<dyn Storage> {
        self.0.clone()
    }

    fn copy(&self) -> Box<dyn Medium> {
        Box::new(Self(Arc::new(self.0.copy())))
    }

    fn tear(&mut self, records: &[(Key, Vec<u8>)], kept: usize) {
        self.0.fail_next(Fault::Fail {
            error: StorageError::Io("the machine went down".into()),
            kept,
        });
        // What it answers nobody hears any more.
        let _ = self.0.append(records);
    }

    fn crash(&mut self) {
        let mark = self.0.last_witness().ok().flatten();
        self.0 = Arc::new(self.0.crash());
        if let Some(mark) = mark {
            // The witness is a file of its own: it is not lost with the store's cache.
            let _ = self.0.witness(&mark);
            self.0.sync();
        }
    }

    fn stop(&mut self) {}

    fn set_lying(&mut self, lying: bool) {
        self.0.set_holding(lying);
        if !lying {
            self.0.sync();
        }
    }
}
