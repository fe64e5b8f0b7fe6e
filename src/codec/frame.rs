//! Frames: how one stream of bytes carries many messages.
//!
//! A frame is its length, four bytes with the highest first, and then that many bytes. The length
//! is checked against a bound before room is made for the rest, and room is made as the rest comes
//! in: whoever announces much and sends little costs little. Reading and writing sockets is left
//! to `net`.

/// Length of the length, in bytes.
pub const PREFIX_BYTES: usize = 4;
/// Longest frame that a peer takes if it does not say otherwise, in bytes, its length not counted.
pub const FRAME_BYTES_MAX: u32 = 2 << 20;
/// Smallest bound that a peer may set, in bytes.
pub const FRAME_BYTES_MAX_MIN: u32 = 64 << 10;

/// Most bytes that an announced length alone makes room for.
const ROOM_BYTES: usize = 64 << 10;

/// Why bytes are not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The frame is longer than the bound.
    #[error("a frame of {length} bytes is longer than the bound of {bound}")]
    TooLong {
        /// Its length, in bytes.
        length: usize,
        /// The bound, in bytes.
        bound: u32,
    },
    /// The frame has no bytes. No message is empty.
    #[error("a frame is empty")]
    Empty,
}

/// What stands in front of a frame of so many bytes.
///
/// # Errors
/// If a frame can not have that length.
pub fn prefix(length: usize, bound: u32) -> Result<[u8; PREFIX_BYTES], FrameError> {
    match u32::try_from(length) {
        Ok(0) => Err(FrameError::Empty),
        Ok(short) if short <= bound => Ok(short.to_be_bytes()),
        _ => Err(FrameError::TooLong { length, bound }),
    }
}

/// Puts frames together from the pieces in which their bytes come in.
#[derive(Debug)]
pub struct FrameAssembler {
    bound: u32,
    prefix: [u8; PREFIX_BYTES],
    prefix_filled: usize,
    /// Bytes of the frame that have come, and how many it will have. None before its length is
    /// known.
    body: Option<(Vec<u8>, usize)>,
}

impl FrameAssembler {
    /// Begins at the start of a frame. No frame may be longer than `bound`, in bytes.
    pub fn new(bound: u32) -> Self {
        Self {
            bound,
            prefix: [0; PREFIX_BYTES],
            prefix_filled: 0,
            body: None,
        }
    }

    /// Changes the bound, in bytes, from the next frame on.
    pub fn set_bound(&mut self, bound: u32) {
        self.bound = bound;
    }

    /// Whether a frame was begun and is not complete.
    pub fn is_amid(&self) -> bool {
        self.prefix_filled > 0
    }

    /// Whether the length of the frame that was begun is complete.
    pub fn knows_length(&self) -> bool {
        self.body.is_some()
    }

    /// How many bytes to hand in next, at most: what is missing of the length, or of the frame.
    /// At least 1.
    pub fn wanted(&self) -> usize {
        match &self.body {
            None => PREFIX_BYTES - self.prefix_filled,
            Some((body, length)) => length - body.len(),
        }
    }

    /// Takes the next bytes of the stream. Gives the frame that they complete.
    ///
    /// # Errors
    /// If what begins here is no frame. Where the next one would begin is unknown then, so the
    /// stream is of no more use.
    ///
    /// # Panics
    /// If there are more bytes than [`FrameAssembler::wanted`].
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, FrameError> {
        assert!(
            bytes.len() <= self.wanted(),
            "no bytes beyond the wanted ones are handed in"
        );
        let Some((body, length)) = &mut self.body else {
            let filled = self.prefix_filled + bytes.len();
            self.prefix[self.prefix_filled..filled].copy_from_slice(bytes);
            self.prefix_filled = filled;
            if filled == PREFIX_BYTES {
                let length = u32::from_be_bytes(self.prefix) as usize;
                prefix(length, self.bound)?;
                self.body = Some((Vec::with_capacity(length.min(ROOM_BYTES)), length));
            }
            return Ok(None);
        };
        // Vec would double: past the first room, at most to the length that was announced.
        if body.len() + bytes.len() > body.capacity() {
            let room = (2 * body.capacity()).clamp(body.len() + bytes.len(), *length);
            body.reserve_exact(room - body.len());
        }
        body.extend_from_slice(bytes);
        if body.len() < *length {
            return Ok(None);
        }
        self.prefix_filled = 0;
        Ok(self.body.take().map(|(body, _)| body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assemble(
        assembler: &mut FrameAssembler,
        mut bytes: &[u8],
        piece: usize,
    ) -> Result<Vec<Vec<u8>>, FrameError> {
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(piece).min(assembler.wanted()));
            frames.extend(assembler.push(now)?);
            bytes = later;
        }
        Ok(frames)
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let frames: Vec<Vec<u8>> = [1, 3, 4, 5, 300, 70_000]
            .into_iter()
            .map(|length| (0..length).map(|i| i as u8).collect())
            .collect();
        let mut bytes = Vec::new();
        for frame in &frames {
            bytes.extend(prefix(frame.len(), FRAME_BYTES_MAX).unwrap());
            bytes.extend(frame);
        }
        for piece in [1, 2, 3, 5, 64, usize::MAX] {
            let mut assembler = FrameAssembler::new(70_000);
            assert_eq!(assemble(&mut assembler, &bytes, piece).unwrap(), frames);
            assert!(!assembler.is_amid());
        }
    }

    #[test]
    fn the_length_comes_first_with_its_highest_byte_first() {
        assert_eq!(prefix(0x01_02_03, FRAME_BYTES_MAX), Ok([0, 1, 2, 3]));
    }

    #[test]
    fn a_frame_past_the_bound_is_refused_before_there_is_room_for_it() {
        for length in [101_u32, u32::MAX] {
            let mut assembler = FrameAssembler::new(100);
            let error = assembler.push(&length.to_be_bytes()).unwrap_err();
            assert_eq!(
                error,
                FrameError::TooLong {
                    length: length as usize,
                    bound: 100
                }
            );
            assert!(assembler.body.is_none());
        }
        assert!(prefix(101, 100).is_err());
        assert!(prefix(100, 100).is_ok());
        assert_eq!(prefix(0, 100), Err(FrameError::Empty));
    }

    #[test]
    fn an_announced_length_alone_makes_little_room() {
        let mut assembler = FrameAssembler::new(FRAME_BYTES_MAX);
        assembler.push(&FRAME_BYTES_MAX.to_be_bytes()).unwrap();
        let room = |assembler: &FrameAssembler| assembler.body.as_ref().unwrap().0.capacity();
        assert!(room(&assembler) <= ROOM_BYTES);
        assembler.push(&[7; 100_000]).unwrap();
        assert!(room(&assembler) <= 200_000);
        assert!(assembler.is_amid());
    }
}
