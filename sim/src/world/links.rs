//! Connections: who dials whom, what cuts them and slows them down, how they end. What goes over
//! them is in `frames`.

use std::collections::BTreeSet;

use leveret::replica::ConnectionId;

use super::machine::{Life, Role};
use super::network::{CutSerial, IDLE_TIMEOUT};
use super::way::Way;
use super::{Happening, World};
use crate::plan::Kind;

/// A connection between two machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkId(u64);

/// First and longest pause between two attempts to connect, in milliseconds.
const REDIAL_MS_MIN: u64 = 250;
const REDIAL_MS_MAX: u64 = 5_000;

/// Both ends of a connection, the one that dialled first.
pub(super) struct Link {
    pub(super) ends: [usize; 2],
    pub(super) ids: [ConnectionId; 2],
    /// From the first end to the second, and back.
    pub(super) ways: [Way; 2],
    pub(super) fate: Fate,
}

/// Whether a connection is about to die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Lives,
    /// Amid what is sent over it next.
    Doomed,
    /// Any moment now.
    Dying,
}

impl Link {
    /// Which of the ends a machine is.
    pub(super) fn side(&self, machine: usize) -> usize {
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

    /// Whether members that know one another, and would let one another in, link two machines.
    pub(crate) fn is_linked(&self, a: usize, b: usize) -> bool {
        let lets_in = |host: usize, guest: usize| {
            let key = self.machines[guest].identity.public();
            let host = self.machines[host].replica.as_ref();
            // Of one that is down it is not known.
            host.is_none_or(|host| host.is_member(&key))
        };
        let mut found = BTreeSet::from([a]);
        let mut next = vec![a];
        while let Some(at) = next.pop() {
            for other in self.machines[at].neighbours.iter().copied() {
                let open =
                    self.machines[other].is_member() && lets_in(at, other) && lets_in(other, at);
                if open && found.insert(other) {
                    next.push(other);
                }
            }
        }
        found.contains(&b)
    }

    pub(super) fn dial_soon(&mut self, a: usize, b: usize, attempt: u32) {
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
        if !(self.can_talk(a) && self.can_talk(b) && self.is_reachable(a, b)) {
            self.dial_soon(a, b, attempt + 1);
            return;
        }
        let takes = self.network.handshake_us(a, b);
        let lives = (self.machines[a].life, self.machines[b].life);
        let at = self.now.plus(takes);
        self.queue.push(at, Happening::Connect { a, b, lives });
    }

    /// Whether nothing is cut between two machines that would talk; a cut is met otherwise.
    fn is_reachable(&mut self, a: usize, b: usize) -> bool {
        let open = !self.network.is_cut(a, b) && !self.network.is_cut(b, a);
        self.meet_cut(a, b);
        self.meet_cut(b, a);
        open
    }

    /// Something was stopped by whatever cuts this way.
    pub(super) fn meet_cut(&mut self, from: usize, to: usize) {
        for kind in self.network.cut_by(from, to) {
            self.tally.meet(*kind);
        }
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

    pub(super) fn link_between(&self, a: usize, b: usize) -> Option<LinkId> {
        self.between.get(&(a.min(b), a.max(b))).copied()
    }

    /// A handshake is through.
    pub(super) fn connect(&mut self, a: usize, b: usize, lives: (Life, Life)) {
        let same = (self.machines[a].life, self.machines[b].life) == lives;
        let usable = same && self.can_talk(a) && self.can_talk(b);
        if !usable || self.link_between(a, b).is_some() || !self.is_reachable(a, b) {
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
                fate: Fate::Lives,
            },
        );
        self.between.insert((a.min(b), a.max(b)), link);
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
        self.between
            .remove(&(ends[0].min(ends[1]), ends[0].max(ends[1])));
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

    /// Has one connection of those there are die, by number, amid what is sent over it next or is
    /// under way.
    pub(crate) fn doom_connection(&mut self, number: usize) {
        let count = self.links.len();
        let Some((&id, link)) = self.links.iter_mut().nth(number % count.max(1)) else {
            return;
        };
        if link.ways.iter().any(Way::is_under_way) {
            link.fate = Fate::Dying;
            self.die(id);
        } else {
            link.fate = Fate::Doomed;
        }
    }

    /// A connection that was about to die does, if anything is under way.
    pub(super) fn die(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        if link.fate != Fate::Dying {
            return;
        }
        if !link.ways.iter().any(Way::is_under_way) {
            link.fate = Fate::Doomed;
            return;
        }
        let ends = link.ends;
        self.trace.line(
            self.now,
            ends[0],
            format_args!("its connection to m{} dies", ends[1]),
        );
        self.tally.meet(Kind::DeadConnection);
        self.disconnect(id);
    }

    /// Cuts a way. What is not under way yet waits; a connection that stays cut for too long ends.
    pub(crate) fn cut(&mut self, from: usize, to: usize, by: Kind) {
        let Some(cut) = self.network.cut(from, to, by) else {
            return;
        };
        if let Some(link) = self.link_between(from, to) {
            let at = self.now.after(IDLE_TIMEOUT);
            let idle = Happening::Idle {
                link,
                from,
                to,
                cut,
            };
            self.queue.push(at, idle);
            self.send_again(link, from);
        }
    }

    /// Ends a cut of this kind: what waited for it goes on its way, if nothing else cuts it.
    pub(crate) fn mend(&mut self, from: usize, to: usize, by: Kind) {
        if self.network.mend(from, to, by) {
            self.resume(from, to);
        }
    }

    /// Bounds the way between two machines, both ways, in bytes a second.
    pub(crate) fn slow_down(&mut self, a: usize, b: usize, bytes_per_second: u64) {
        self.network.slow_down(a, b, bytes_per_second);
        if let Some(link) = self.link_between(a, b) {
            self.send_again(link, a);
            self.send_again(link, b);
        }
    }

    /// Ends every cut, and everything else that is wrong with the network.
    pub(crate) fn calm_network(&mut self) {
        let cuts = self.network.calm();
        for id in self.links.keys().copied().collect::<Vec<_>>() {
            if let Some(link) = self.links.get_mut(&id) {
                link.fate = Fate::Lives;
                let ends = link.ends;
                ends.into_iter().for_each(|end| self.send_again(id, end));
            }
        }
        for (from, to) in cuts {
            self.resume(from, to);
        }
    }

    /// A way that was cut has been silent for long.
    pub(super) fn idle(&mut self, link: LinkId, from: usize, to: usize, cut: CutSerial) {
        if self.links.contains_key(&link) && self.network.is_still_cut(from, to, cut) {
            self.meet_cut(from, to);
            self.disconnect(link);
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
