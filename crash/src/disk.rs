//! A model of the disk under a process: what it was told, what of that must last, and what may be
//! there after the power has gone.
//!
//! The rules are those that POSIX promises and no more. `fsync` of a file makes its bytes and length
//! last that had been written when it began; `fsync` of a directory makes the names in it last.
//! Until then each write may be there or not, whatever came before or after it, and may be torn
//! between sectors; and each change of a name may be there or not. Half of the time names come and go
//! in order, as in a file system with a journal. Nothing that was synced is lost, and no sector has
//! bytes that nobody wrote: that is what `damage` is for.

mod content;
mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use leveret_sim::chance::Chance;

use crate::strace::{Answer, Call, Record, Step};
use content::{Content, Pending, Write};
use names::{Entry, NameChange, Names, apply};

/// See the top of the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    /// Everything is below this.
    root: PathBuf,
    files: Vec<Content>,
    /// The names as the process sees them.
    seen: Names,
    /// The names that were there at the beginning.
    first: Names,
    /// What happened to names since, in order.
    changes: Vec<(NameChange, bool)>,
    /// Where the next write of an open file goes.
    positions: BTreeMap<i64, u64>,
    /// Syncs that have begun: what they will have made last.
    syncing: BTreeMap<usize, Sync>,
    writes: u64,
    /// Nothing that is synced lasts any better.
    forgetful: bool,
}

#[derive(Clone, Debug)]
enum Sync {
    File(usize, BTreeSet<u64>),
    /// So many of the changes of names had happened.
    Directory(PathBuf, usize),
}

impl Disk {
    /// A disk that has the files of a directory, all of them lasting.
    ///
    /// # Errors
    /// If they can not be read.
    pub(crate) fn of(root: &Path) -> io::Result<Self> {
        let mut disk = Self {
            root: root.to_owned(),
            ..Self::default()
        };
        let mut waiting = vec![root.to_owned()];
        while let Some(directory) = waiting.pop() {
            disk.first.insert(directory.clone(), Entry::Directory);
            for entry in fs::read_dir(&directory)? {
                let path = entry?.path();
                if path.is_dir() {
                    waiting.push(path);
                } else {
                    let lasting = fs::read(&path)?;
                    let file = Entry::File(disk.files.len());
                    disk.files.push(Content {
                        lasting,
                        pending: Vec::new(),
                    });
                    disk.first.insert(path, file);
                }
            }
        }
        disk.seen = disk.first.clone();
        Ok(disk)
    }

    /// A disk that answers syncs and does nothing: for the test of the tests.
    pub(crate) fn forgetful(mut self) -> Self {
        self.forgetful = true;
        self
    }

    /// One step of a process goes by. Gives whether what the process sees has changed.
    pub(crate) fn step(&mut self, record: &Record, step: Step) -> bool {
        match step {
            Step::Begins(at) => self.begins(at, &record.calls[at]),
            Step::Ends(at) => self.ends(at, &record.calls[at]),
        }
    }

    fn begins(&mut self, at: usize, call: &Call) -> bool {
        let Some((fd, path)) = call.file() else {
            return false;
        };
        let entry = self.seen.get(path).copied();
        match (call.name.as_str(), entry) {
            ("write" | "writev" | "pwrite64" | "pwritev" | "pwritev2", Some(Entry::File(file))) => {
                self.write(at, call, fd, file)
            }
            ("fsync" | "fdatasync", Some(Entry::File(file))) => {
                let pending = self.files[file].pending.iter();
                let done = pending.filter(|write| write.call.is_none());
                let numbers = done.map(|write| write.number).collect();
                self.syncing.insert(at, Sync::File(file, numbers));
                false
            }
            ("fsync" | "fdatasync", Some(Entry::Directory)) => {
                let sync = Sync::Directory(path.to_owned(), self.changes.len());
                self.syncing.insert(at, sync);
                false
            }
            _ => false,
        }
    }

    fn write(&mut self, at: usize, call: &Call, fd: i64, file: usize) -> bool {
        let (Some(bytes), Some(Answer::Done(written, _))) = (call.bytes(0), &call.result) else {
            // It failed, or nobody knows: as if it had not been tried.
            return false;
        };
        let written = usize::try_from(*written).unwrap_or(0).min(bytes.len());
        let offset = match call.name.starts_with('p') {
            true => call.number(1).unwrap_or(0),
            false => {
                let position = self.positions.entry(fd).or_default();
                let offset = *position;
                *position += written as u64;
                offset
            }
        };
        let what = Write::Bytes(offset, bytes[..written].to_vec());
        self.put(file, what, Some(at));
        true
    }

    fn put(&mut self, file: usize, what: Write, call: Option<usize>) {
        self.writes += 1;
        let number = self.writes;
        self.files[file]
            .pending
            .push(Pending { number, what, call });
    }

    fn ends(&mut self, at: usize, call: &Call) -> bool {
        if let Some(sync) = self.syncing.remove(&at) {
            if matches!(call.result, Some(Answer::Done(..))) && !self.forgetful {
                self.synced(sync);
            }
            return false;
        }
        let Some(Answer::Done(number, opened)) = &call.result else {
            return false;
        };
        match call.name.as_str() {
            "openat" | "creat" => {
                self.positions.insert(*number, 0);
                opened.as_ref().is_some_and(|path| self.opened(path, call))
            }
            "mkdir" | "mkdirat" => self.change(
                call.path(0)
                    .map(|path| NameChange::New(path, Entry::Directory)),
            ),
            "rename" | "renameat" | "renameat2" => {
                let change = call.path(0).zip(call.path(1));
                self.change(change.map(|(from, to)| NameChange::Rename(from, to)))
            }
            "unlink" | "unlinkat" | "rmdir" => self.change(call.path(0).map(NameChange::Remove)),
            "ftruncate" => {
                let file = call
                    .file()
                    .and_then(|(_, path)| self.seen.get(path))
                    .copied();
                let length = call.number(0);
                if let (Some(Entry::File(file)), Some(length)) = (file, length) {
                    self.put(file, Write::Length(length), None);
                }
                true
            }
            "lseek" => {
                if let Some((fd, _)) = call.file() {
                    self.positions
                        .insert(fd, u64::try_from(*number).unwrap_or(0));
                }
                false
            }
            "copy_file_range" => self.copied(call, *number),
            _ => {
                for file in &mut self.files {
                    for write in file.pending.iter_mut().rev() {
                        if write.call == Some(at) {
                            write.call = None;
                        }
                    }
                }
                false
            }
        }
    }

    fn opened(&mut self, path: &Path, call: &Call) -> bool {
        let flags = call.flags();
        match self.seen.get(path) {
            Some(Entry::File(file)) if flags.contains("O_TRUNC") => {
                let file = *file;
                self.put(file, Write::Length(0), None);
                true
            }
            None if flags.contains("O_CREAT") || call.name == "creat" => {
                let entry = Entry::File(self.files.len());
                self.files.push(Content::default());
                self.change(Some(NameChange::New(path.to_owned(), entry)))
            }
            _ => false,
        }
    }

    /// Bytes went from the first open file of a call to the second.
    fn copied(&mut self, call: &Call, count: i64) -> bool {
        let open: Vec<(i64, PathBuf)> = call.files();
        let [(from_fd, from), (to_fd, to)] = &open[..] else {
            return false;
        };
        let entries = (self.seen.get(from).copied(), self.seen.get(to).copied());
        let (Some(Entry::File(from)), Some(Entry::File(to))) = entries else {
            return false;
        };
        let count = u64::try_from(count).unwrap_or(0);
        let start = self.positions.get(from_fd).copied().unwrap_or(0);
        let bytes: Vec<u8> = self.files[from]
            .seen()
            .into_iter()
            .skip(usize::try_from(start).unwrap_or(usize::MAX))
            .take(usize::try_from(count).unwrap_or(usize::MAX))
            .collect();
        let offset = self.positions.get(to_fd).copied().unwrap_or(0);
        self.positions.insert(*from_fd, start + count);
        self.positions.insert(*to_fd, offset + count);
        self.put(to, Write::Bytes(offset, bytes), None);
        true
    }

    fn change(&mut self, change: Option<NameChange>) -> bool {
        let Some(change) = change.filter(|change| change.is_below(&self.root)) else {
            return false;
        };
        apply(&mut self.seen, &change);
        self.changes.push((change, false));
        true
    }

    fn synced(&mut self, sync: Sync) {
        match sync {
            Sync::File(file, numbers) => {
                let content = &mut self.files[file];
                let pending = std::mem::take(&mut content.pending);
                for write in pending {
                    if numbers.contains(&write.number) {
                        write.what.apply(&mut content.lasting);
                    } else {
                        content.pending.push(write);
                    }
                }
            }
            Sync::Directory(path, count) => {
                for (change, lasts) in &mut self.changes[..count] {
                    *lasts |= change.is_in(&path);
                }
            }
        }
    }

    /// Writes out what the process sees: what is there after it was killed.
    ///
    /// # Errors
    /// If it can not be written.
    pub(crate) fn write_seen(&self, into: &Path) -> io::Result<()> {
        self.write_out(into, &self.seen, |file| file.seen())
    }

    /// Writes out what is there after the power has gone, as far as chance has a say in it.
    ///
    /// # Errors
    /// If it can not be written.
    pub(crate) fn write_cut(&self, into: &Path, chance: &mut Chance) -> io::Result<()> {
        let mut names = self.first.clone();
        let waiting = self.changes.iter().filter(|(_, lasts)| !lasts).count() as u64;
        let in_order = chance.permille(500);
        // In order: how many more than those that must last.
        let mut more = chance.within(0, waiting);
        for (change, lasts) in &self.changes {
            let there = match (lasts, in_order) {
                (true, _) => true,
                (false, true) => {
                    let there = more > 0;
                    more = more.saturating_sub(1);
                    there
                }
                (false, false) => chance.permille(500),
            };
            if there {
                apply(&mut names, change);
            }
        }
        self.write_out(into, &names, |file| file.cut(chance))
    }

    fn write_out(
        &self,
        into: &Path,
        names: &Names,
        mut content: impl FnMut(&Content) -> Vec<u8>,
    ) -> io::Result<()> {
        for (path, entry) in names {
            let Ok(below) = path.strip_prefix(&self.root) else {
                continue;
            };
            let path = into.join(below);
            match entry {
                Entry::Directory if path.is_dir() => {}
                Entry::Directory => DirBuilder::new().mode(0o700).create(&path)?,
                Entry::File(file) => {
                    let bytes = content(&self.files[*file]);
                    let mut options = OpenOptions::new();
                    options.write(true).create_new(true).mode(0o600);
                    options.open(&path)?.write_all(&bytes)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
