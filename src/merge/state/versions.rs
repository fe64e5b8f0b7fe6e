//! Which versions there are, and which of them somebody reads.
//!
//! Who holds a version's summary reads it: nothing else is noted when a snapshot is taken or let go,
//! so neither waits for anybody. Summaries are handed out under the state's lock for reading, and
//! whether one is still held is asked under its lock for writing.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use super::{Summary, Version};

pub(super) struct Versions {
    published: Arc<Summary>,
    /// Versions merged and not published, oldest first.
    waiting: VecDeque<Arc<Summary>>,
    /// Versions published before that somebody may still read, oldest first.
    former: VecDeque<(Version, Weak<Summary>)>,
}

impl Versions {
    pub(super) fn new(published: Arc<Summary>) -> Self {
        Self {
            published,
            waiting: VecDeque::new(),
            former: VecDeque::new(),
        }
    }

    pub(super) fn published(&self) -> Arc<Summary> {
        self.published.clone()
    }

    /// The newest one, whether published or not.
    pub(super) fn merged(&self) -> Arc<Summary> {
        self.waiting.back().unwrap_or(&self.published).clone()
    }

    /// Its number.
    pub(super) fn newest(&self) -> Version {
        self.waiting.back().unwrap_or(&self.published).version
    }

    /// Adds the next version. It waits to be published.
    pub(super) fn push(&mut self, summary: Arc<Summary>) {
        self.waiting.push_back(summary);
    }

    /// Publishes the versions up to this one.
    pub(super) fn publish(&mut self, version: Version) {
        while self
            .waiting
            .front()
            .is_some_and(|summary| summary.version <= version)
        {
            let next = self.waiting.pop_front().expect("there is a front");
            let before = std::mem::replace(&mut self.published, next);
            if Arc::strong_count(&before) > 1 {
                let version = before.version;
                self.former.push_back((version, Arc::downgrade(&before)));
            }
        }
    }

    /// The oldest version that somebody may read.
    pub(super) fn oldest(&mut self) -> Version {
        while let Some((version, summary)) = self.former.front() {
            if summary.strong_count() > 0 {
                return *version;
            }
            self.former.pop_front();
        }
        self.published.version
    }

    /// Forgets who reads versions below this one: they find that their snapshots have expired.
    pub(super) fn expire(&mut self, below: Version) {
        while self
            .former
            .front()
            .is_some_and(|(version, _)| *version < below)
        {
            self.former.pop_front();
        }
    }
}
