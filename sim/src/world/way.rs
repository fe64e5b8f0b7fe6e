//! One way of a connection: what waits to be sent, what is under way, what has come and is not
//! read yet.
//!
//! The driver opens one stream of frames each way (`net/link.rs`), so whatever the messages are
//! about, those of one way arrive in the order in which they were sent, and wait for one another.
//! Ways of different connections know nothing of each other. What breaks the order is asked for:
//! see [`Weather`](super::Weather).

use std::collections::{BTreeMap, VecDeque};

use super::queue::Micros;

/// Bytes and messages that wait to be sent, above which a peer does not read a connection.
pub(super) const PAUSE_BYTES: usize = 8 << 20;
const PAUSE_MESSAGES: usize = 1_024;
/// Bytes and messages that wait to be sent, above which a peer closes a connection.
const QUEUE_BYTES_MAX: usize = 64 << 20;
const QUEUE_MESSAGES_MAX: usize = 65_536;

/// A message as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) bytes: Vec<u8>,
    /// Its place in the order in which they were handed in.
    pub(super) place: u64,
    /// Whether it is the second of two that are the same.
    pub(super) is_copy: bool,
}

/// A frame that was handed to the network.
#[derive(Clone, Debug)]
struct Flight {
    frame: Frame,
    /// When all of it is under way.
    sent: Micros,
    arrives: Micros,
}

/// See the top of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Way {
    /// Until when what was handed in is being sent.
    pub(super) busy_until: Micros,
    /// When the last frame arrives.
    pub(super) last_arrival: Micros,
    places: u64,
    /// Counts what arrives.
    arrivals: u64,
    /// What was handed to the network and has not arrived, by the number of its arrival.
    flights: BTreeMap<u64, Flight>,
    /// When each of the frames will be under way that are not yet, and its bytes; and all of those.
    outgoing: VecDeque<(Micros, usize)>,
    outgoing_bytes: usize,
    /// What waits for a cut to end.
    stalled: VecDeque<Frame>,
    stalled_bytes: usize,
    /// What has arrived and was not read.
    unread: VecDeque<Frame>,
    /// Whether the other end has stopped reading.
    pub(super) is_paused: bool,
    /// The highest place that has arrived.
    newest: u64,
}

impl Way {
    /// The next frame of these bytes.
    pub(super) fn frame(&mut self, bytes: Vec<u8>) -> Frame {
        self.places += 1;
        Frame {
            bytes,
            place: self.places,
            is_copy: false,
        }
    }

    /// A frame is being sent, and all of it will be under way at `sent`.
    pub(super) fn send(&mut self, sent: Micros, bytes: usize) {
        self.outgoing.push_back((sent, bytes));
        self.outgoing_bytes += bytes;
    }

    /// A frame will arrive; the number of its arrival.
    pub(super) fn fly(&mut self, frame: Frame, sent: Micros, arrives: Micros) -> u64 {
        self.arrivals += 1;
        let flight = Flight {
            frame,
            sent,
            arrives,
        };
        self.flights.insert(self.arrivals, flight);
        self.arrivals
    }

    /// A frame has arrived, to be read in its turn; whether an earlier one came later than a later
    /// one, and whether it had come already. Nothing if it was taken back.
    pub(super) fn land(&mut self, number: u64) -> Option<(bool, bool)> {
        let frame = self.flights.remove(&number)?.frame;
        let overtaken = !frame.is_copy && frame.place < self.newest;
        let is_copy = frame.is_copy;
        self.newest = self.newest.max(frame.place);
        self.unread.push_back(frame);
        Some((overtaken, is_copy))
    }

    /// The next frame that the other end reads.
    pub(super) fn read(&mut self) -> Option<Frame> {
        self.unread.pop_front()
    }

    /// Whether anything waits to be read.
    pub(super) fn is_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Whether anything is between the ends.
    pub(super) fn is_under_way(&self) -> bool {
        !self.flights.is_empty()
    }

    fn forget_sent(&mut self, now: Micros) {
        while let Some((sent, bytes)) = self.outgoing.front().copied()
            && sent <= now
        {
            self.outgoing_bytes -= bytes;
            self.outgoing.pop_front();
        }
    }

    /// Bytes that were handed in and are not under way yet.
    pub(super) fn queued_bytes(&mut self, now: Micros) -> usize {
        self.forget_sent(now);
        self.outgoing_bytes + self.stalled_bytes
    }

    /// Whether so much waits that whoever sends does not read what comes the other way.
    pub(super) fn is_full(&mut self, now: Micros) -> bool {
        self.queued_bytes(now) > PAUSE_BYTES
            || self.outgoing.len() + self.stalled.len() > PAUSE_MESSAGES
    }

    /// Whether so much waits that whoever sends closes the connection.
    pub(super) fn is_over(&mut self, now: Micros) -> bool {
        self.queued_bytes(now) > QUEUE_BYTES_MAX
            || self.outgoing.len() + self.stalled.len() > QUEUE_MESSAGES_MAX
    }

    /// When half of what makes it full will wait, if nothing else is handed in; nothing while it is
    /// cut.
    pub(super) fn drained_at(&self) -> Option<Micros> {
        if !self.stalled.is_empty() {
            return None;
        }
        let (mut bytes, mut messages) = (self.outgoing_bytes, self.outgoing.len());
        let mut at = Micros(0);
        for (sent, of) in &self.outgoing {
            if bytes <= PAUSE_BYTES / 2 && messages <= PAUSE_MESSAGES / 2 {
                break;
            }
            (bytes, messages) = (bytes - of, messages - 1);
            at = *sent;
        }
        Some(at)
    }

    /// Keeps a frame until the cut ends.
    pub(super) fn stall(&mut self, frame: Frame) {
        self.stalled_bytes += frame.bytes.len();
        self.stalled.push_back(frame);
    }

    /// Takes out what waited for a cut to end, in order.
    pub(super) fn resume(&mut self) -> VecDeque<Frame> {
        self.stalled_bytes = 0;
        std::mem::take(&mut self.stalled)
    }

    /// Takes back what is not under way yet, in order: the way has become another one.
    pub(super) fn take_back(&mut self, now: Micros) -> Vec<Frame> {
        let all = std::mem::take(&mut self.flights);
        let (waiting, going): (BTreeMap<_, _>, BTreeMap<_, _>) =
            all.into_iter().partition(|(_, flight)| flight.sent > now);
        self.flights = going;
        let frames = waiting.into_values().map(|flight| flight.frame);
        let mut frames: Vec<Frame> = frames.filter(|frame| !frame.is_copy).collect();
        frames.sort_by_key(|frame| frame.place);
        self.outgoing.clear();
        self.outgoing_bytes = 0;
        self.busy_until = self.busy_until.min(now);
        let left = self.flights.values().map(|flight| flight.arrives);
        self.last_arrival = left.max().unwrap_or(Micros(0));
        frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(way: &mut Way, at: u64, bytes: usize) -> u64 {
        let frame = way.frame(vec![0; bytes]);
        way.send(Micros(at), bytes);
        way.fly(frame, Micros(at), Micros(at + 5))
    }

    #[test]
    fn what_is_under_way_does_not_wait_and_what_is_stalled_does() {
        let mut way = Way::default();
        sent(&mut way, 10, 100);
        sent(&mut way, 20, 200);
        let frame = way.frame(vec![0; 1_000]);
        way.stall(frame);
        assert_eq!(way.queued_bytes(Micros(0)), 1_300);
        assert_eq!(way.queued_bytes(Micros(10)), 1_200);
        assert_eq!(way.queued_bytes(Micros(20)), 1_000);
        assert_eq!(way.resume().len(), 1);
        assert_eq!(way.queued_bytes(Micros(20)), 0);
    }

    #[test]
    fn what_is_taken_back_does_not_arrive_and_keeps_its_order() {
        let mut way = Way::default();
        let numbers = [10, 20, 30].map(|at| sent(&mut way, at, 100));
        let back = way.take_back(Micros(15));
        assert_eq!(
            back.iter().map(|frame| frame.place).collect::<Vec<_>>(),
            [2, 3]
        );
        assert_eq!(way.land(numbers[0]), Some((false, false)));
        assert_eq!(way.land(numbers[1]), None);
        assert_eq!(way.queued_bytes(Micros(15)), 0);
    }

    #[test]
    fn a_frame_that_comes_after_a_later_one_was_overtaken() {
        let mut way = Way::default();
        let numbers = [10, 20].map(|at| sent(&mut way, at, 100));
        assert_eq!(way.land(numbers[1]), Some((false, false)));
        assert_eq!(way.land(numbers[0]), Some((true, false)));
    }

    #[test]
    fn a_full_way_is_read_again_when_half_of_it_is_gone() {
        let mut way = Way::default();
        for n in 1..=9 {
            sent(&mut way, n * 10, 1 << 20);
        }
        assert!(way.is_full(Micros(0)) && !way.is_over(Micros(0)));
        assert_eq!(way.drained_at(), Some(Micros(50)));
        assert!(!way.is_full(Micros(50)));
        for n in 10..=2_000 {
            sent(&mut way, n * 10, 1);
        }
        assert!(way.is_full(Micros(100)));
    }
}
