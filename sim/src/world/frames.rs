//! What goes over connections: each message is a frame, which waits, travels, arrives and is read
//! in its turn.

use leveret::codec::message::{self, Message};
use leveret::replica::ConnectionId;

use super::links::{Fate, LinkId};
use super::machine::Role;
use super::queue::Micros;
use super::way::Frame;
use super::{Happening, World};
use crate::plan::Kind;

impl World {
    /// Sends what a replica has to say.
    pub(super) fn send(&mut self, machine: usize, to: ConnectionId, message: &Message) {
        if let Some(link) = self.machines[machine].links.get(&to).copied() {
            self.tally.messages += 1;
            let side = self.links[&link].side(machine);
            self.transmit(link, side, message::encode(message));
        }
    }

    /// Sends bytes, whatever they are.
    pub(super) fn transmit(&mut self, id: LinkId, side: usize, bytes: Vec<u8>) {
        if let Some(link) = self.links.get_mut(&id) {
            self.tally.bytes += bytes.len() as u64;
            let frame = link.ways[side].frame(bytes);
            self.pass_on(id, side, frame);
        }
    }

    /// Hands a frame to the network, or keeps it while the way is cut.
    fn pass_on(&mut self, id: LinkId, side: usize, frame: Frame) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let (from, to) = (link.ends[side], link.ends[1 - side]);
        let way = &mut link.ways[side];
        if self.network.is_cut(from, to) {
            way.stall(frame);
            self.meet_cut(from, to);
        } else {
            let bytes = frame.bytes.len();
            let passage = self.network.pass(way, self.now, (from, to), bytes);
            way.send(passage.sent, bytes);
            for (met, kind) in [
                (passage.lost, Kind::Loss),
                (passage.slowed, Kind::SlowLink),
                (passage.arrivals.is_empty(), Kind::Vanish),
            ] {
                if met {
                    self.tally.meet(kind);
                }
            }
            let first = passage.arrivals.first().copied();
            if let Some(at) = passage.arrivals.get(1).copied() {
                let copy = Frame {
                    is_copy: true,
                    ..frame.clone()
                };
                self.fly(id, side, copy, (passage.sent, at));
            }
            if let Some(at) = first {
                self.fly(id, side, frame, (passage.sent, at));
                self.strike_doomed(id, at);
            }
        }
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let way = &mut link.ways[side];
        let queued = way.queued_bytes(self.now);
        self.tally.queued_bytes_max = self.tally.queued_bytes_max.max(queued);
        if way.is_over(self.now) {
            self.tally.mark("queue closed a connection");
            self.disconnect(id);
        }
    }

    fn fly(&mut self, id: LinkId, side: usize, frame: Frame, (sent, at): (Micros, Micros)) {
        let link = self.links.get_mut(&id).expect("asked for what is there");
        let number = link.ways[side].fly(frame, sent, at);
        let side = 1 - side;
        let arrive = Happening::Arrive {
            link: id,
            side,
            number,
        };
        self.queue.push(at, arrive);
    }

    /// Something that will arrive at `at` has been sent over a connection, which dies halfway if it
    /// is doomed.
    fn strike_doomed(&mut self, id: LinkId, at: Micros) {
        if let Some(link) = self.links.get_mut(&id)
            && link.fate == Fate::Doomed
        {
            link.fate = Fate::Dying;
            let half = at.0.saturating_sub(self.now.0) / 2;
            self.queue
                .push(self.now.plus(half), Happening::Die { link: id });
        }
    }

    /// A frame has come to one end of a connection.
    pub(super) fn arrive(&mut self, id: LinkId, side: usize, number: u64) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let Some((overtaken, is_copy)) = link.ways[1 - side].land(number) else {
            return;
        };
        if overtaken {
            self.tally.meet(Kind::Reorder);
        }
        if is_copy {
            self.tally.meet(Kind::Duplicate);
        }
        if !link.ways[1 - side].is_paused {
            self.read(id, side);
        }
    }

    /// An end of a connection reads what has come, as long as not too much waits to be sent by it.
    pub(super) fn read(&mut self, id: LinkId, side: usize) {
        while let Some(link) = self.links.get_mut(&id) {
            let is_full = link.ways[side].is_full(self.now);
            let incoming = &mut link.ways[1 - side];
            incoming.is_paused = is_full && incoming.is_unread();
            if incoming.is_paused {
                self.tally.mark("queue paused a connection");
                return self.read_when_drained(id, side);
            }
            let Some(frame) = incoming.read() else {
                return;
            };
            self.take(id, side, &frame.bytes);
        }
    }

    /// Has an end that has stopped reading go on when half of what it sends is under way.
    fn read_when_drained(&mut self, id: LinkId, side: usize) {
        if let Some(link) = self.links.get(&id)
            && link.ways[1 - side].is_paused
            && let Some(at) = link.ways[side].drained_at()
        {
            let at = at.max(self.now.plus(1));
            self.queue.push(at, Happening::Read { link: id, side });
        }
    }

    /// An end of a connection takes what it has read.
    fn take(&mut self, id: LinkId, side: usize, frame: &[u8]) {
        let link = &self.links[&id];
        let (machine, other) = (link.ends[side], link.ends[1 - side]);
        let connection = link.ids[side];
        let digest = blake3::hash(frame);
        self.trace
            .step(self.now, machine, "arrive", &digest.as_bytes()[..8]);
        if self.machines[machine].role == Role::Hostile {
            return self.overhear(machine, (id, side), frame);
        }
        let message = match message::decode(frame) {
            Ok(message) => message,
            Err(error) => {
                self.trace.line(
                    self.now,
                    machine,
                    format_args!("refuses a frame of m{other}: {error}"),
                );
                self.tally.mark("frame refused");
                return self.disconnect(id);
            }
        };
        if let Message::Range { records, .. } = &message {
            self.tally.payloads += records.len() as u64;
        }
        let now = self.clock(machine);
        if let Some(replica) = &mut self.machines[machine].replica {
            replica.receive(now, connection, message);
            self.drain(machine);
        }
    }

    /// What is not under way yet is sent as the way is now.
    pub(super) fn send_again(&mut self, id: LinkId, from: usize) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let side = link.side(from);
        for frame in link.ways[side].take_back(self.now) {
            self.pass_on(id, side, frame);
        }
        self.read_when_drained(id, side);
    }

    pub(super) fn resume(&mut self, from: usize, to: usize) {
        let Some(id) = self.link_between(from, to) else {
            self.dial_soon(from.min(to), from.max(to), 0);
            return;
        };
        let link = self.links.get_mut(&id).expect("it was just there");
        let side = link.side(from);
        for frame in link.ways[side].resume() {
            self.pass_on(id, side, frame);
        }
        self.read_when_drained(id, side);
    }
}
