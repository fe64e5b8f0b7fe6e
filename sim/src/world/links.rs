//! Connections: who dials whom, what is sent over them, how they end.

use std::collections::BTreeSet;

use leveret::codec::message::{self, Message};
use leveret::replica::ConnectionId;

use super::machine::{Life, Role};
use super::network::{IDLE_TIMEOUT, Way};
use super::{Happening, World};
use crate::plan::Kind;

/// A connection between two machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkId(u64);

/// Bytes that wait to be sent, above which a peer does not read a connection.
const PAUSE_BYTES: usize = 8 << 20;
/// Bytes that wait to be sent, above which a peer closes a connection.
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// First and longest pause between two attempts to connect, in milliseconds.
const REDIAL_MS_MIN: u64 = 250;
const REDIAL_MS_MAX: u64 = 5_000;

/// Both ends of a connection, the one that dialled first.
pub(super) struct Link {
    ends: [usize; 2],
    ids: [ConnectionId; 2],
    /// From the first end to the second, and back.
    ways: [Way; 2],
}

impl Link {
    /// Which of the ends a machine is.
    fn side(&self, machine: usize) -> usize {
        usize::from(self.ends[0] != machine)
    }
}

impl World {
    /// Lets two machines dial each other whenever they are not connected, from now on.
    pub fn introduce(&mut self, a: usize, b: usize) {
        if a == b || !self.machines[a].neighbours.insert(b) {
            return;
        }
        self.machines[b].neighbours.insert(a);
        self.dial_soon(a, b, 0);
    }

    /// Whether members that know one another link two machines.
    pub(crate) fn is_linked(&self, a: usize, b: usize) -> bool {
        let mut found = BTreeSet::from([a]);
        let mut next = vec![a];
        while let Some(at) = next.pop() {
            for other in &self.machines[at].neighbours {
                if self.machines[*other].is_member() && found.insert(*other) {
                    next.push(*other);
                }
            }
        }
        found.contains(&b)
    }

    fn dial_soon(&mut self, a: usize, b: usize, attempt: u32) {
        let pause = match attempt {
            0 => 0,
            n => (REDIAL_MS_MIN << n.min(8)).min(REDIAL_MS_MAX),
        };
        let pause = pause * 1_000 * self.chance.within(800, 1_200) / 1_000;
        let at = self.now.plus(pause);
        self.queue.push(at, Happening::Dial { a, b, attempt });
    }

    /// One of two machines tries to reach the other.
    pub(super) fn dial(&mut self, a: usize, b: usize, attempt: u32) {
        let gone = |world: &Self, machine: usize| {
            let machine = &world.machines[machine];
            machine.role == Role::Gone || machine.kept_down
        };
        if !self.machines[a].neighbours.contains(&b) || gone(self, a) || gone(self, b) {
            return;
        }
        if self.link_between(a, b).is_some() {
            return;
        }
        let reachable = !self.network.is_cut(a, b) && !self.network.is_cut(b, a);
        if !(reachable && self.can_talk(a) && self.can_talk(b)) {
            self.dial_soon(a, b, attempt + 1);
            return;
        }
        let takes = self.network.handshake_us(a, b);
        let lives = (self.machines[a].life, self.machines[b].life);
        let at = self.now.plus(takes);
        self.queue.push(at, Happening::Connect { a, b, lives });
    }

    fn can_talk(&self, machine: usize) -> bool {
        let machine = &self.machines[machine];
        machine.is_up() || machine.role == Role::Hostile
    }

    /// Has a machine and those it knows dial each other soon: it has just come up, or a cut ended.
    pub(super) fn dial_all(&mut self, machine: usize) {
        let neighbours: Vec<usize> = self.machines[machine].neighbours.iter().copied().collect();
        for other in neighbours {
            self.dial_soon(machine.min(other), machine.max(other), 0);
        }
    }

    fn link_between(&self, a: usize, b: usize) -> Option<LinkId> {
        let mut links = self.machines[a].links.values().copied();
        links.find(|id| self.links[id].ends.contains(&b))
    }

    /// A handshake is through.
    pub(super) fn connect(&mut self, a: usize, b: usize, lives: (Life, Life)) {
        let same = (self.machines[a].life, self.machines[b].life) == lives;
        let usable = same && self.can_talk(a) && self.can_talk(b);
        if !usable || self.link_between(a, b).is_some() {
            self.dial_soon(a, b, 1);
            return;
        }
        if !self.admit(a, b) {
            self.dial_soon(a, b, 3);
            return;
        }
        self.connections += 2;
        let ids = [
            ConnectionId(self.connections - 1),
            ConnectionId(self.connections),
        ];
        let link = LinkId(self.connections);
        self.links.insert(
            link,
            Link {
                ends: [a, b],
                ids,
                ways: [Way::default(), Way::default()],
            },
        );
        self.trace
            .step(self.now, a, "connect", &(b as u64).to_be_bytes());
        self.trace
            .line(self.now, a, format_args!("connects to m{b}"));
        for (side, machine) in [a, b].into_iter().enumerate() {
            self.machines[machine].links.insert(ids[side], link);
        }
        for (side, machine) in [a, b].into_iter().enumerate() {
            let key = self.machines[if side == 0 { b } else { a }]
                .identity
                .public();
            let now = self.clock(machine);
            if let Some(replica) = &mut self.machines[machine].replica {
                replica.connected(now, ids[side], key);
                self.drain(machine);
            }
        }
    }

    /// Ends a connection; both ends are told, and what was under way is lost.
    pub(super) fn disconnect(&mut self, link: LinkId) {
        let Some(Link { ends, ids, .. }) = self.links.remove(&link) else {
            return;
        };
        self.trace.step(
            self.now,
            ends[0],
            "disconnect",
            &(ends[1] as u64).to_be_bytes(),
        );
        for (machine, id) in ends.into_iter().zip(ids) {
            self.machines[machine].links.remove(&id);
        }
        for (machine, id) in ends.into_iter().zip(ids) {
            let now = self.clock(machine);
            if let Some(replica) = &mut self.machines[machine].replica {
                replica.disconnected(now, id);
                self.drain(machine);
            }
        }
        let (a, b) = (ends[0].min(ends[1]), ends[0].max(ends[1]));
        self.dial_soon(a, b, 1);
    }

    /// Ends all connections of a machine.
    pub(super) fn disconnect_all(&mut self, machine: usize) {
        let links: Vec<LinkId> = self.machines[machine].links.values().copied().collect();
        links.into_iter().for_each(|link| self.disconnect(link));
    }

    /// Ends one connection of those there are, by number; false if there is none.
    pub fn kill_connection(&mut self, number: usize) -> bool {
        let count = self.links.len();
        let Some((&link, ends)) = self.links.iter().nth(number % count.max(1)) else {
            return false;
        };
        let ends = ends.ends;
        self.trace.line(
            self.now,
            ends[0],
            format_args!("its connection to m{} dies", ends[1]),
        );
        self.disconnect(link);
        true
    }

    /// Cuts a way. A connection that stays cut for too long ends.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.network.cut(from, to);
        if let Some(link) = self.link_between(from, to) {
            let at = self.now.after(IDLE_TIMEOUT);
            self.queue.push(at, Happening::Idle { link, from, to });
        }
    }

    /// Ends a cut: what waited for it goes on its way.
    pub fn mend(&mut self, from: usize, to: usize) {
        self.network.mend(from, to);
        self.resume(from, to);
    }

    /// Ends every cut, and everything else that is wrong with the network.
    pub fn calm_network(&mut self) {
        for (from, to) in self.network.calm() {
            self.resume(from, to);
        }
    }

    fn resume(&mut self, from: usize, to: usize) {
        let Some(id) = self.link_between(from, to) else {
            self.dial_soon(from.min(to), from.max(to), 0);
            return;
        };
        let link = self.links.get_mut(&id).expect("it was just there");
        let side = link.side(from);
        for frame in link.ways[side].resume() {
            self.transmit(id, side, frame);
        }
    }

    /// A way that was cut has been silent for long.
    pub(super) fn idle(&mut self, link: LinkId, from: usize, to: usize) {
        if self.network.is_cut(from, to) {
            self.disconnect(link);
        }
    }

    /// Sends what a replica has to say.
    pub(super) fn send(&mut self, machine: usize, to: ConnectionId, message: &Message) {
        if let Some(link) = self.machines[machine].links.get(&to).copied() {
            self.tally.messages += 1;
            let side = self.links[&link].side(machine);
            self.transmit(link, side, message::encode(message));
        }
    }

    /// Sends bytes, whatever they are.
    pub(super) fn transmit(&mut self, id: LinkId, side: usize, frame: Vec<u8>) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let (from, to) = (link.ends[side], link.ends[1 - side]);
        let way = &mut link.ways[side];
        self.tally.bytes += frame.len() as u64;
        if self.network.is_cut(from, to) {
            way.stall(frame);
            self.tally.meet(Kind::Cut);
            return;
        }
        let speed = self.network.bytes_per_second(from, to);
        let passage = self.network.pass(way, self.now, (from, to), frame.len());
        let queued = way.queued_bytes(self.now, speed);
        let tally = &mut self.tally;
        if passage.lost {
            tally.meet(Kind::Loss);
        }
        if passage.overtaken {
            tally.meet(Kind::Reorder);
        }
        match passage.arrivals.len() {
            0 => tally.meet(Kind::Vanish),
            1 => {}
            _ => tally.meet(Kind::Duplicate),
        }
        tally.queued_bytes_max = tally.queued_bytes_max.max(queued);
        if queued > PAUSE_BYTES / 8 {
            tally.meet(Kind::SlowLink);
        }
        let mut frame = Some(frame);
        let count = passage.arrivals.len();
        for (i, at) in passage.arrivals.into_iter().enumerate() {
            let bytes = if i + 1 == count {
                frame.take()
            } else {
                frame.clone()
            };
            let frame = bytes.expect("taken by the last one");
            let side = 1 - side;
            self.queue.push(
                at,
                Happening::Arrive {
                    link: id,
                    side,
                    frame,
                },
            );
        }
        if queued > QUEUE_BYTES_MAX {
            self.tally.mark("queue closed a connection");
            self.disconnect(id);
        }
    }

    /// A frame has come to one end of a connection.
    pub(super) fn arrive(&mut self, id: LinkId, side: usize, frame: Vec<u8>) {
        let Some(link) = self.links.get(&id) else {
            return;
        };
        let (machine, other) = (link.ends[side], link.ends[1 - side]);
        let connection = link.ids[side];
        let speed = self.network.bytes_per_second(machine, other);
        let way = &link.ways[side];
        if way.queued_bytes(self.now, speed) > PAUSE_BYTES && way.stalled.is_empty() {
            // Not read until half of it is gone.
            self.tally.mark("queue paused a connection");
            let at = way
                .drained_to(PAUSE_BYTES as u64 / 2, speed)
                .max(self.now.plus(1));
            self.queue.push(
                at,
                Happening::Arrive {
                    link: id,
                    side,
                    frame,
                },
            );
            return;
        }
        let digest = blake3::hash(&frame);
        self.trace
            .step(self.now, machine, "arrive", &digest.as_bytes()[..8]);
        if self.machines[machine].role == Role::Hostile {
            return self.overhear(machine, (id, side), &frame);
        }
        let message = match message::decode(&frame) {
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

    /// The replica of a machine wants a connection ended.
    pub(super) fn close_connection(&mut self, machine: usize, connection: ConnectionId) {
        if let Some(link) = self.machines[machine].links.get(&connection).copied() {
            self.disconnect(link);
        }
    }

    /// The connections of a machine: its own number of each, and who is at the other end.
    pub(crate) fn connections_of(&self, machine: usize) -> Vec<(LinkId, usize, usize)> {
        let links = self.machines[machine].links.values();
        links
            .map(|id| {
                let link = &self.links[id];
                let side = link.side(machine);
                (*id, side, link.ends[1 - side])
            })
            .collect()
    }
}
