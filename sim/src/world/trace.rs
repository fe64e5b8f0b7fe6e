//! The trace of a run: a hash of everything that happened, and if asked for, its lines.

use std::fmt::Arguments;

use super::queue::Micros;

/// What happened, in order.
pub struct Trace {
    hash: blake3::Hasher,
    steps: u64,
    print: bool,
}

impl Trace {
    /// An empty trace, whose lines go to standard output if `print`.
    pub fn new(print: bool) -> Self {
        Self {
            hash: blake3::Hasher::new(),
            steps: 0,
            print,
        }
    }

    /// Something happened on a machine: a word for what it was, and what tells it from others.
    pub(crate) fn step(&mut self, now: Micros, machine: usize, what: &str, detail: &[u8]) {
        self.steps += 1;
        self.hash
            .update(&now.0.to_be_bytes())
            .update(&(machine as u64).to_be_bytes())
            .update(what.as_bytes())
            .update(&(detail.len() as u64).to_be_bytes())
            .update(detail);
    }

    /// A line for people. It is not part of the hash.
    pub(crate) fn line(&self, now: Micros, machine: usize, text: Arguments<'_>) {
        if self.print {
            println!("{now} m{machine} {text}");
        }
    }

    /// How many things have happened.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The hash so far, as 32 hex digits.
    pub fn hash(&self) -> String {
        self.hash.finalize().to_hex()[..32].to_owned()
    }
}
