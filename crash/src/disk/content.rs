//! The bytes of one file: those that last, and those that were written since.

use leveret_sim::chance::Chance;

/// What a disk writes whole, in bytes.
const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pub(super) lasting: Vec<u8>,
    pub(super) pending: Vec<Pending>,
}

#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) number: u64,
    pub(super) what: Write,
    /// The call that it belongs to, while that goes on.
    pub(super) call: Option<usize>,
}

#[derive(Clone, Debug)]
pub(super) enum Write {
    Bytes(u64, Vec<u8>),
    Length(u64),
}

impl Write {
    pub(super) fn apply(&self, content: &mut Vec<u8>) {
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
    pub(super) fn seen(&self) -> Vec<u8> {
        let mut content = self.lasting.clone();
        for write in &self.pending {
            write.what.apply(&mut content);
        }
        content
    }

    pub(super) fn cut(&self, chance: &mut Chance) -> Vec<u8> {
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
