//! What a process says to the file system, as `strace` writes it down.
//!
//! Calls of different threads overlap: each has a beginning and an end, in the order in which they
//! were seen.

mod call;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};

pub(crate) use call::{Answer, Argument, Call};

/// The calls that change a file system, or make it last.
pub(crate) const CALLS: [&str; 22] = [
    "openat",
    "creat",
    "mkdir",
    "mkdirat",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "rmdir",
    "write",
    "writev",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "ftruncate",
    "truncate",
    "fallocate",
    "copy_file_range",
    "lseek",
    "fsync",
    "fdatasync",
];
/// Longest text of a call that is written down whole, in bytes: sled writes a segment at a time.
const TEXT_MAX: u32 = 64 << 20;

/// The beginning or the end of a call, by its place in the list of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Begins(usize),
    Ends(usize),
}

/// What was written down of one process.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) calls: Vec<Call>,
    pub(crate) steps: Vec<Step>,
}

/// Says how to get `strace`, if it is not there.
///
/// # Errors
/// If it is not there.
pub(crate) fn must_be_installed() -> anyhow::Result<()> {
    let ran = Command::new("strace")
        .arg("-V")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    ensure!(
        ran.is_ok_and(|status| status.success()),
        "strace does not run; install it (`apt-get install strace`)"
    );
    Ok(())
}

/// A command that runs `program` under `strace`, which writes what it sees to a file.
pub(crate) fn recorded(program: &Path, into: &Path) -> Command {
    let mut command = Command::new("strace");
    command
        .args([
            "-f",
            "-qq",
            "-y",
            "-xx",
            "--seccomp-bpf",
            "-e",
            "signal=none",
        ])
        .args(["-s", &TEXT_MAX.to_string()])
        .args(["-e", &format!("trace={}", CALLS.join(","))])
        .arg("-o")
        .arg(into)
        .arg(program);
    command
}

/// A command that runs `program` under `strace`, which makes each sync so many microseconds longer.
pub(crate) fn slowed(program: &Path, microseconds: u32) -> Command {
    let mut command = Command::new("strace");
    command
        .args(["-f", "-qq", "--seccomp-bpf", "-e", "signal=none"])
        .args(["-e", "trace=fsync,fdatasync", "-e"])
        .arg(format!("inject=fsync,fdatasync:delay_enter={microseconds}"))
        .args(["-o", "/dev/null"])
        .arg(program);
    command
}

impl Record {
    /// Reads what was written down.
    ///
    /// # Errors
    /// If it can not be understood.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let mut record = Self::default();
        let mut under_way = BTreeMap::new();
        for line in text.lines() {
            let (thread, said) = line.split_once(' ').context("a line has no thread")?;
            let said = said.trim_start();
            let read = record.take(thread.to_owned(), said, &mut under_way);
            read.with_context(|| line.chars().take(300).collect::<String>())?;
        }
        Ok(record)
    }

    fn take(
        &mut self,
        thread: String,
        said: &str,
        under_way: &mut BTreeMap<String, usize>,
    ) -> anyhow::Result<()> {
        if said.starts_with("+++") || said.starts_with("---") {
            return Ok(());
        }
        if said.starts_with("<...") {
            let Some(at) = under_way.remove(&thread) else {
                return Ok(()); // it began before anything was written down
            };
            let (_, result) = said.rsplit_once("= ").context("no result")?;
            self.calls[at].result = answer(result);
            self.steps.push(Step::Ends(at));
            return Ok(());
        }
        let (name, rest) = said.split_once('(').context("no call")?;
        let at = self.calls.len();
        let (given, result) = match rest.strip_suffix("<unfinished ...>") {
            Some(given) => {
                under_way.insert(thread, at);
                (given.trim_end(), None)
            }
            None => {
                let (given, result) = rest.rsplit_once(" = ").context("no result")?;
                let given = given.trim_end();
                (given.strip_suffix(')').context("no end")?, answer(result))
            }
        };
        let finished = !rest.ends_with("<unfinished ...>");
        self.calls.push(Call {
            name: name.to_owned(),
            arguments: arguments(given)?,
            result,
        });
        self.steps.push(Step::Begins(at));
        if finished {
            self.steps.push(Step::Ends(at));
        }
        Ok(())
    }
}

fn answer(text: &str) -> Option<Answer> {
    let text = text.trim();
    if text.starts_with('?') {
        return None;
    }
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '-')
        .unwrap_or(text.len());
    let number: i64 = text[..end].parse().ok()?;
    if number < 0 {
        return Some(Answer::Failed);
    }
    let path = text[end..]
        .strip_prefix('<')
        .and_then(|rest| rest.split_once('>'));
    let path = path.and_then(|(path, _)| bytes(path).ok());
    Some(Answer::Done(number, path.map(path_of)))
}

fn path_of(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(&bytes))
}

/// Every text is written as bytes in hexadecimal, so no text has a comma, a bracket or a quote.
fn arguments(text: &str) -> anyhow::Result<Vec<Argument>> {
    let mut found = Vec::new();
    if text.contains("iov_base=") {
        let file = text.split(", ").next().context("no file")?;
        found.push(argument(file)?);
        let mut all = Vec::new();
        for part in text.split("iov_base=\"").skip(1) {
            let (part, _) = part.split_once('"').context("no end of a text")?;
            all.extend(bytes(part)?);
        }
        found.push(Argument::Bytes(all));
        if let Some((_, rest)) = text.rsplit_once("], ") {
            for part in rest.split(", ") {
                found.push(argument(part)?);
            }
        }
        return Ok(found);
    }
    for part in text.split(", ").filter(|part| !part.is_empty()) {
        found.push(argument(part)?);
    }
    Ok(found)
}

fn argument(text: &str) -> anyhow::Result<Argument> {
    let text = text.trim_end_matches(',');
    if let Some(inner) = text.strip_prefix('"') {
        let (inner, rest) = inner.split_once('"').context("no end of a text")?;
        ensure!(rest.is_empty(), "a text was cut");
        return Ok(Argument::Bytes(bytes(inner)?));
    }
    if let Some((number, path)) = text.split_once('<')
        && let Some(path) = path.strip_suffix('>')
    {
        let number = match number {
            "AT_FDCWD" => -1,
            number => number.parse()?,
        };
        return Ok(Argument::File(number, path_of(bytes(path)?)));
    }
    Ok(match text.parse() {
        Ok(number) => Argument::Number(number),
        Err(_) => Argument::Word(text.to_owned()),
    })
}

fn bytes(text: &str) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4);
    let mut rest = text.as_bytes();
    while let [b'\\', b'x', high, low, more @ ..] = rest {
        let digits = [*high, *low];
        let digits = std::str::from_utf8(&digits)?;
        bytes.push(u8::from_str_radix(digits, 16)?);
        rest = more;
    }
    // `strace` says so after the path of a file that has been unlinked.
    if !rest.is_empty() && rest != b"(deleted)" {
        bail!("not a text: {}", String::from_utf8_lossy(rest));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_calls_have_a_beginning_and_an_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        let text = concat!(
            "7 pwrite64(3<\\x2f\\x61>, \"\\x01\\x02\", 2, 512 <unfinished ...>\n",
            "8 fdatasync(4<\\x2f\\x61>) = 0\n",
            "7 <... pwrite64 resumed>) = 2\n",
            "7 openat(AT_FDCWD<\\x2f>, \"\\x62\", O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0666) = 5<\\x2f\\x62>\n",
            "9 unlink(\"\\x62\") = -1 ENOENT (No such file or directory)\n",
            "8 +++ exited with 0 +++\n",
        );
        std::fs::write(&path, text).unwrap();
        let record = Record::read(&path).unwrap();
        use Step::{Begins, Ends};
        assert_eq!(
            record.steps,
            [
                Begins(0),
                Begins(1),
                Ends(1),
                Ends(0),
                Begins(2),
                Ends(2),
                Begins(3),
                Ends(3)
            ]
        );
        assert_eq!(
            record.calls[0].arguments,
            [
                Argument::File(3, "/a".into()),
                Argument::Bytes(vec![1, 2]),
                Argument::Number(2),
                Argument::Number(512)
            ]
        );
        assert_eq!(record.calls[0].result, Some(Answer::Done(2, None)));
        assert_eq!(
            record.calls[2].result,
            Some(Answer::Done(5, Some("/b".into())))
        );
        assert_eq!(record.calls[3].result, Some(Answer::Failed));
    }
}
