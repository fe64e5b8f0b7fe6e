//! A real disk: leveret's store on sled, in a temporary directory.
//!
//! A machine that goes down is simulated by a copy of its directory, taken while the store is open:
//! that is what the next life finds. So each opening after a crash is the real one after a bad end.
//! What sled itself wrote is all there, since its barriers are kept; what the machine's power could
//! take away in the middle of a write is simulated at the edges of what was asked of the store: the
//! first so many records of a batch, or the directory as it was when the disk began to lie.

use std::cell::RefCell;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use leveret::storage::sled::{SledOptions, SledStorage};
use leveret::storage::{Key, Storage};
use tempfile::TempDir;

use super::Medium;

/// Bytes of a store that may stay in memory: there are many stores.
const CACHE_BYTES: u64 = 4 << 20;

/// What a failing temporary directory would break: this is no fault of those that are simulated.
const USABLE: &str = "the folder for temporary files can be used";

/// See the top of the file.
pub(super) struct SledDisk {
    // Let go before its directory is removed.
    open: RefCell<Option<Arc<SledStorage>>>,
    directory: TempDir,
    /// What the disk has really kept, while it lies.
    kept: Option<TempDir>,
}

impl Default for SledDisk {
    fn default() -> Self {
        Self::of(fresh())
    }
}

impl SledDisk {
    fn of(directory: TempDir) -> Self {
        Self {
            open: RefCell::new(None),
            directory,
            kept: None,
        }
    }

    /// The store; it is opened if it is not open.
    fn opened(&self) -> Arc<SledStorage> {
        let open = || {
            let options = SledOptions::default()
                .with_cache_bytes(CACHE_BYTES)
                .with_room_min_bytes(0)
                .with_slack_bytes(0);
            let opened = SledStorage::open(self.directory.path(), &options);
            Arc::new(opened.unwrap_or_else(|error| panic!("the store on sled: {error}")))
        };
        self.open.borrow_mut().get_or_insert_with(open).clone()
    }

    /// Goes on in another directory. Whoever still reads the old store can do so until it lets go.
    fn go_on_in(&mut self, directory: TempDir) {
        self.open.take();
        self.directory = directory;
    }
}

impl Medium for SledDisk {
    fn storage(&self) -> Arc<dyn Storage> {
        self.opened()
    }

    fn copy(&self) -> Box<dyn Medium> {
        let kept = self.kept.as_ref().unwrap_or(&self.directory);
        Box::new(Self::of(copied(kept.path())))
    }

    fn tear(&mut self, records: &[(Key, Vec<u8>)], kept: usize) {
        // What it answers nobody hears any more.
        let _ = self.opened().append(&records[..kept.min(records.len())]);
    }

    fn crash(&mut self) {
        let Some(kept) = self.kept.take() else {
            return self.go_on_in(copied(self.directory.path()));
        };
        let mark = self.opened().last_witness().ok().flatten();
        self.go_on_in(kept);
        if let Some(mark) = mark {
            // The witness is a file of its own: it is not lost with the store's cache.
            let _ = self.opened().witness(&mark);
        }
    }

    fn stop(&mut self) {
        match self.open.take().map(Arc::into_inner) {
            // If it has no good end, it is opened as after a bad one.
            Some(Some(store)) => drop(store.close()),
            // Somebody still reads in it, so it can not be opened again where it is.
            Some(None) => self.go_on_in(copied(self.directory.path())),
            None => {}
        }
    }

    fn set_lying(&mut self, lying: bool) {
        // One that lies already has kept no more since.
        let kept = lying.then(|| self.kept.take());
        self.kept = kept.map(|kept| kept.unwrap_or_else(|| copied(self.directory.path())));
    }
}

fn fresh() -> TempDir {
    let made = tempfile::Builder::new().prefix("leveret-sim-").tempdir();
    made.expect(USABLE)
}

/// A copy of a directory whose store may be open. No write is under way; files that sled removes
/// by the way need not be there.
fn copied(from: &Path) -> TempDir {
    let copy = fresh();
    let mut folders = vec![(from.to_owned(), copy.path().to_owned())];
    while let Some((from, to)) = folders.pop() {
        let vanished = |error: &io::Error| error.kind() == ErrorKind::NotFound;
        for entry in fs::read_dir(&from).expect(USABLE) {
            let name = entry.expect(USABLE).file_name();
            let (from, to) = (from.join(&name), to.join(&name));
            if from.is_dir() {
                fs::create_dir(&to).expect(USABLE);
                folders.push((from, to));
            } else if let Err(error) = fs::copy(&from, &to)
                && !vanished(&error)
            {
                panic!("{USABLE}: {error}");
            }
        }
    }
    copy
}
