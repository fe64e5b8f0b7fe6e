//! A model of the disk under a process: what it was told, what of that must last, and what may be
//! there after the power has gone.
//!
//! The rules are those that POSIX promises and no more. `fsync` of a file makes its bytes and length
//! last that had been written when it began; `fsync` of a directory makes the names in it last.
//! Until then each write may be there or not, whatever came before or after it, and may be torn
//! between sectors; and each change of a name may be there or not. Half of the time names come and go
//! in order, as in a file system with a journal. Nothing that was synced is lost, and no sector has
//! bytes that nobody wrote: that is what `damage` is for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use leveret_sim::chance::Chance;

use crate::strace::{Answer, Argument, Call, Record, Step};

/// What a disk writes whole, in bytes.
const SECTOR: usize = 512;

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
}

type Names = BTreeMap<PathBuf, Entry>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Directory,
    File(usize),
}

#[derive(Clone, Debug)]
enum NameChange {
    New(PathBuf, Entry),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

#[derive(Clone, Debug, Default)]
struct Content {
    lasting: Vec<u8>,
    pending: Vec<Pending>,
}

#[derive(Clone, Debug)]
struct Pending {
    number: u64,
    what: Write,
    /// The call that it belongs to, while that goes on.
    call: Option<usize>,
}

#[derive(Clone, Debug)]
enum Write {
    Bytes(u64, Vec<u8>),
    Length(u64),
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
            if matches!(call.result, Some(Answer::Done(..))) {
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

/// A change of a name takes place, if it can: what it is about may not have lasted.
fn apply(names: &mut Names, change: &NameChange) {
    let has_parent = |names: &Names, path: &Path| {
        let parent = path.parent().and_then(|parent| names.get(parent));
        parent == Some(&Entry::Directory)
    };
    match change {
        NameChange::New(path, entry) => {
            if has_parent(names, path) {
                names.insert(path.clone(), *entry);
            }
        }
        NameChange::Remove(path) => {
            let below: Vec<PathBuf> = below(names, path);
            for path in below {
                names.remove(&path);
            }
        }
        NameChange::Rename(from, to) => {
            if !names.contains_key(from) || !has_parent(names, to) {
                return;
            }
            for path in below(names, to) {
                names.remove(&path);
            }
            for path in below(names, from) {
                if let (Some(entry), Ok(rest)) = (names.remove(&path), path.strip_prefix(from)) {
                    let place = match rest.as_os_str().is_empty() {
                        true => to.clone(),
                        false => to.join(rest),
                    };
                    names.insert(place, entry);
                }
            }
        }
    }
}

fn below(names: &Names, path: &Path) -> Vec<PathBuf> {
    let from = names.range(path.to_owned()..).map(|(path, _)| path);
    let here = from.filter(|known| known.starts_with(path));
    here.cloned().collect()
}

impl NameChange {
    fn is_below(&self, root: &Path) -> bool {
        match self {
            Self::New(path, _) | Self::Remove(path) => path.starts_with(root),
            Self::Rename(from, to) => from.starts_with(root) && to.starts_with(root),
        }
    }

    fn is_in(&self, directory: &Path) -> bool {
        let parent = |path: &Path| path.parent() == Some(directory);
        match self {
            Self::New(path, _) | Self::Remove(path) => parent(path),
            // Whichever side is synced first, a file system keeps the two together.
            Self::Rename(from, to) => parent(from) || parent(to),
        }
    }
}

impl Write {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Length(length) => {
                content.resize(usize::try_from(*length).unwrap_or(usize::MAX), 0);
            }
            Self::Bytes(offset, bytes) => {
                let start = usize::try_from(*offset).unwrap_or(usize::MAX);
                let end = start + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[start..end].copy_from_slice(bytes);
            }
        }
    }

    /// The sectors of it that were written.
    fn torn(&self, chance: &mut Chance) -> Vec<Self> {
        let Self::Bytes(offset, bytes) = self else {
            return vec![self.clone()];
        };
        let mut parts = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let place = usize::try_from(*offset).unwrap_or(0) + at;
            let end = (at + SECTOR - place % SECTOR).min(bytes.len());
            if chance.permille(500) {
                parts.push(Self::Bytes(place as u64, bytes[at..end].to_vec()));
            }
            at = end;
        }
        parts
    }
}

impl Content {
    fn seen(&self) -> Vec<u8> {
        let mut content = self.lasting.clone();
        for write in &self.pending {
            write.what.apply(&mut content);
        }
        content
    }

    fn cut(&self, chance: &mut Chance) -> Vec<u8> {
        let mut content = self.lasting.clone();
        let kept = match chance.below(4) {
            0 => 0,
            1 => 1_000,
            2 => 500,
            _ => u32::try_from(chance.below(1_001)).unwrap_or(0),
        };
        for write in &self.pending {
            if !chance.permille(kept) {
                continue;
            }
            if chance.permille(250) {
                for part in write.what.torn(chance) {
                    part.apply(&mut content);
                }
            } else {
                write.what.apply(&mut content);
            }
        }
        content
    }
}

impl Call {
    /// The open file that it is about, and its name.
    fn file(&self) -> Option<(i64, &Path)> {
        match self.arguments.first() {
            Some(Argument::File(number, path)) => Some((*number, path)),
            _ => None,
        }
    }

    fn files(&self) -> Vec<(i64, PathBuf)> {
        let files = self.arguments.iter().filter_map(|argument| match argument {
            Argument::File(number, path) => Some((*number, path.clone())),
            _ => None,
        });
        files.collect()
    }

    /// The text that it was given as number `at`.
    pub(crate) fn bytes(&self, at: usize) -> Option<&[u8]> {
        let mut texts = self.arguments.iter().filter_map(|argument| match argument {
            Argument::Bytes(bytes) => Some(&bytes[..]),
            _ => None,
        });
        texts.nth(at)
    }

    fn number(&self, at: usize) -> Option<u64> {
        let mut numbers = self.arguments.iter().filter_map(|argument| match argument {
            Argument::Number(number) => Some(*number),
            _ => None,
        });
        numbers
            .nth(at)
            .and_then(|number| u64::try_from(number).ok())
    }

    fn flags(&self) -> String {
        let words = self.arguments.iter().filter_map(|argument| match argument {
            Argument::Word(word) => Some(word.as_str()),
            _ => None,
        });
        words.collect()
    }

    /// The path that it was given as number `at`, from the directory that stands before it.
    fn path(&self, at: usize) -> Option<PathBuf> {
        use std::os::unix::ffi::OsStrExt as _;
        let mut from = PathBuf::new();
        let mut left = at;
        for argument in &self.arguments {
            match argument {
                Argument::File(_, path) => from.clone_from(path),
                Argument::Bytes(bytes) if left == 0 => {
                    return Some(from.join(std::ffi::OsStr::from_bytes(bytes)));
                }
                Argument::Bytes(_) => left -= 1,
                _ => {}
            }
        }
        None
    }

    /// The file that it is about: by an open file, or by its path.
    pub(crate) fn about(&self) -> Option<PathBuf> {
        match self.arguments.first() {
            Some(Argument::File(number, path)) if *number >= 0 => Some(path.clone()),
            _ => self.path(0),
        }
    }

    /// The line that a process said with this call on its standard output.
    pub(crate) fn said(&self) -> Option<String> {
        match (self.name.as_str(), self.file()) {
            ("write", Some((1, _))) => Some(
                String::from_utf8_lossy(self.bytes(0)?)
                    .trim_end()
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str, arguments: Vec<Argument>, number: i64, path: Option<&str>) -> Call {
        Call {
            thread: "1".into(),
            name: name.into(),
            arguments,
            result: Some(Answer::Done(number, path.map(PathBuf::from))),
        }
    }

    fn play(calls: Vec<Call>) -> Disk {
        let root = Names::from([(PathBuf::from("/d"), Entry::Directory)]);
        let mut disk = Disk {
            root: "/d".into(),
            first: root.clone(),
            seen: root,
            ..Disk::default()
        };
        let steps = (0..calls.len()).flat_map(|at| [Step::Begins(at), Step::Ends(at)]);
        let steps: Vec<Step> = steps.collect();
        let record = Record {
            calls,
            steps: steps.clone(),
        };
        for step in steps {
            disk.step(&record, step);
        }
        disk
    }

    fn made(path: &str, fd: i64) -> Call {
        let flags = Argument::Word("O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC".into());
        let path_bytes = Argument::Bytes(path.into());
        let at = Argument::File(-1, "/".into());
        call("openat", vec![at, path_bytes, flags], fd, Some(path))
    }

    fn written(path: &str, fd: i64, bytes: &[u8]) -> Call {
        let file = Argument::File(fd, path.into());
        let count = i64::try_from(bytes.len()).unwrap();
        let bytes = Argument::Bytes(bytes.to_vec());
        call(
            "write",
            vec![file, bytes, Argument::Number(count)],
            count,
            None,
        )
    }

    fn synced(path: &str, fd: i64) -> Call {
        call("fsync", vec![Argument::File(fd, path.into())], 0, None)
    }

    fn after_cuts(disk: &Disk) -> BTreeSet<Option<Vec<u8>>> {
        let cuts = (0..64).map(|seed| {
            let into = tempfile::tempdir().unwrap();
            disk.write_cut(into.path(), &mut Chance::new(seed, "cut"))
                .unwrap();
            fs::read(into.path().join("a")).ok()
        });
        cuts.collect()
    }

    #[test]
    fn what_was_not_synced_may_be_lost_and_may_be_there() {
        let disk = play(vec![made("/d/a", 3), written("/d/a", 3, b"xy")]);
        let after = after_cuts(&disk);
        assert!(after.contains(&None) && after.contains(&Some(b"xy".to_vec())));
        assert!(after.contains(&Some(Vec::new())));
    }

    #[test]
    fn what_was_synced_lasts_once_its_directory_was_synced_too() {
        let calls = vec![
            made("/d/a", 3),
            written("/d/a", 3, b"xy"),
            synced("/d/a", 3),
        ];
        let without = after_cuts(&play(calls.clone()));
        assert_eq!(without, BTreeSet::from([None, Some(b"xy".to_vec())]));
        let after = after_cuts(&play([calls, vec![synced("/d", 4)]].concat()));
        assert_eq!(after, BTreeSet::from([Some(b"xy".to_vec())]));
    }

    #[test]
    fn a_file_under_a_new_name_is_the_old_one_or_the_new_one() {
        let mut calls = vec![made("/d/a", 3), written("/d/a", 3, b"old")];
        calls.extend([synced("/d/a", 3), synced("/d", 4), made("/d/a.new", 5)]);
        calls.extend([written("/d/a.new", 5, b"new"), synced("/d/a.new", 5)]);
        let paths = ["/d/a.new", "/d/a"].map(|path| Argument::Bytes(path.into()));
        calls.push(call("rename", paths.to_vec(), 0, None));
        let after = after_cuts(&play(calls));
        let expected = [b"new", b"old"].map(|text| Some(text.to_vec()));
        assert_eq!(after, BTreeSet::from(expected));
    }

    #[test]
    fn a_killed_process_leaves_all_that_it_wrote() {
        let disk = play(vec![made("/d/a", 3), written("/d/a", 3, b"xy")]);
        let into = tempfile::tempdir().unwrap();
        disk.write_seen(into.path()).unwrap();
        assert_eq!(fs::read(into.path().join("a")).unwrap(), b"xy");
    }
}
