//! What people save: operations on few names, so that they meet, and now and then something large.

use std::collections::{BTreeSet, VecDeque};

use leveret::merge::{Draft, ReadTree as _};
use leveret::model::limits::{CHANGE_SET_BYTES_MAX, VALUE_BYTES_MAX};
use leveret::model::script::parse_line;
use leveret::model::{NodeId, NodeName, NodePath, OriginId, PropertyName, RepoId, Sequence, Value};

use crate::chance::Chance;
use crate::plan::{BURST_US, Kind, Plan};
use crate::world::{Micros, World};

/// Children of the node with many.
const WIDE_CHILDREN: usize = 100_000;
/// Children added in one save.
const WIDE_STEP: usize = 5_000;
/// Names on the deep path.
const DEEP_NAMES: usize = 500;
/// Nodes that everybody moves.
const CONTENDED: usize = 4;
/// Most operations of a usual save.
const OPERATIONS_MAX: u64 = 4;
/// Saves taken within the time of a burst that make one.
const BURST_SAVES: usize = 5;
/// How often an operation is drawn again that the author's view refuses.
const TRIES: usize = 8;
/// Longest time between the beginning of a session and its save, in microseconds.
const SESSION_US_MAX: u64 = 5_000_000;

/// Draws the saves of a run.
pub(super) struct Load {
    seed: u64,
    names: u64,
    kinds: BTreeSet<Kind>,
    calm: bool,
    /// What was written on what everybody writes on.
    touches: Vec<Touch>,
    /// When the last saves were taken.
    taken: VecDeque<Micros>,
}

/// A change set that wrote on something on which everybody writes.
struct Touch {
    kind: Kind,
    /// The node whose property it wrote, or below which it added; the root for moves, which meet
    /// wherever they go.
    on: NodeId,
    machine: usize,
    origin: OriginId,
    sequence: Sequence,
}

impl Load {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            seed: plan.seed,
            names: plan.names as u64,
            kinds: plan.kinds.clone(),
            calm: plan.profile == crate::plan::Profile::Calm,
            touches: Vec::new(),
            taken: VecDeque::new(),
        }
    }

    /// Makes the save of this number, on a machine that runs.
    pub(super) fn save(&mut self, world: &mut World, number: usize) {
        let mut chance = Chance::new(self.seed, &format!("save {number}"));
        let running = world.running();
        if running.is_empty() {
            return;
        }
        let machine = *chance.one_of(&running);
        let mut draft = draft(world, machine);
        let operations = match self.calm {
            true => 1,
            false => chance.within(1, OPERATIONS_MAX),
        };
        let mut touched = Vec::new();
        for _ in 0..operations {
            touched.extend(self.add_operation(&mut draft, &mut chance));
        }
        if !self.calm {
            draft.overwrite(chance.permille(700));
            draft.all_or_nothing(chance.permille(150));
        }
        if draft.operations() == 0 {
            return;
        }
        if !self.calm && chance.permille(200) {
            let pause = chance.spread(1_000, SESSION_US_MAX);
            return world.save_later(machine, draft, pause);
        }
        if world.save(machine, &draft) {
            self.note_burst(world);
            self.note_touches(world, machine, &draft, &touched);
        }
    }

    /// Has everybody do at once what they do often in this kind of load.
    pub(super) fn rush(&mut self, world: &mut World, kind: Kind, chance: &mut Chance) {
        for machine in world.running() {
            if !world.machines[machine].is_up() {
                continue;
            }
            let mut draft = draft(world, machine);
            draft.overwrite(true);
            for line in prepared(kind) {
                let operation = parse_line(&line).expect("a well-formed line");
                // What is there already need not be added.
                let there = target(&line, &draft).is_some();
                let _ = !there && draft.apply(&operation).is_ok();
            }
            let mut touched = Vec::new();
            for _ in 0..TRIES {
                let line = load_line(kind, chance);
                touched.extend(try_line(&mut draft, &line, Some(kind)).flatten());
                if !touched.is_empty() {
                    break;
                }
            }
            if draft.operations() > 0 && world.save(machine, &draft) {
                self.note_touches(world, machine, &draft, &touched);
            }
        }
    }

    /// A machine that was taken out writes something.
    pub(super) fn write_on(&mut self, world: &mut World, machine: usize, number: usize) {
        if !world.machines[machine].is_up() {
            return;
        }
        let mut chance = Chance::new(self.seed, &format!("write on {number}"));
        let mut draft = draft(world, machine);
        draft.overwrite(true);
        self.add_operation(&mut draft, &mut chance);
        let heard = !world.connections_of(machine).is_empty();
        if draft.operations() > 0 && world.save(machine, &draft) && heard {
            world.tally.meet(Kind::Outcast);
        }
    }

    /// A save was taken: a burst is met when there were enough of them in its time.
    fn note_burst(&mut self, world: &mut World) {
        if !self.kinds.contains(&Kind::Burst) {
            return;
        }
        self.taken.push_back(world.now);
        while self
            .taken
            .front()
            .is_some_and(|at| at.plus(BURST_US) < world.now)
        {
            self.taken.pop_front();
        }
        if self.taken.len() >= BURST_SAVES {
            self.taken.clear();
            world.tally.meet(Kind::Burst);
        }
    }

    /// A save was taken that wrote where everybody writes: such a load is met when another machine
    /// has written on the same, and neither had seen the other.
    fn note_touches(
        &mut self,
        world: &mut World,
        machine: usize,
        draft: &Draft,
        touched: &[(Kind, NodeId)],
    ) {
        let Some(replica) = &world.machines[machine].replica else {
            return;
        };
        let origin = replica.origin();
        let latest = replica.state(RepoId::MAIN).heads();
        let Some(sequence) = latest.get(&origin).map(|head| head.sequence) else {
            return;
        };
        let seen = draft.snapshot().heads();
        for (kind, on) in touched.iter().copied() {
            let unseen = |touch: &&Touch| {
                let head = seen.get(&touch.origin);
                head.is_none_or(|head| head.sequence < touch.sequence)
            };
            let met = self
                .touches
                .iter()
                .filter(|touch| (touch.kind, touch.on) == (kind, on) && touch.machine != machine)
                .any(|touch| unseen(&touch));
            if met {
                world.tally.meet(kind);
            }
            self.touches.push(Touch {
                kind,
                on,
                machine,
                origin,
                sequence,
            });
        }
    }

    /// Puts one more operation into a draft, if one is found that its view allows. Gives on what it
    /// wrote, if that is something on which everybody writes.
    fn add_operation(&self, draft: &mut Draft, chance: &mut Chance) -> Option<(Kind, NodeId)> {
        for _ in 0..TRIES {
            let (line, kind) = self.line(chance);
            if let Some(touched) = try_line(draft, &line, kind) {
                return touched;
            }
        }
        None
    }

    /// A line, and the kind of load that it is part of.
    fn line(&self, chance: &mut Chance) -> (String, Option<Kind>) {
        for kind in [Kind::HotProperty, Kind::HotParent, Kind::ContendedMoves] {
            if self.kinds.contains(&kind) && chance.permille(400) {
                return (load_line(kind, chance), Some(kind));
            }
        }
        (self.usual_line(chance), None)
    }

    fn usual_line(&self, chance: &mut Chance) -> String {
        let path = self.path(chance);
        match chance.below(if self.calm { 12 } else { 20 }) {
            0..=2 => format!("add {path}"),
            3..=7 => format!("set {path} p{} {}", chance.below(3), chance.below(100)),
            8..=10 => format!("inc {path} count {}", chance.within(1, 5)),
            11 => format!("unset {path} p{}", chance.below(3)),
            12..=13 => format!("remove {path}"),
            14..=16 => format!("move {path} {}", self.path(chance)),
            17 => format!("add_unique {path}"),
            18 => format!("order {path} {}", chance.one_of(&["first", "last"])),
            _ => format!("set {path} text \"{:x}\"", chance.below(u64::MAX)),
        }
    }

    fn path(&self, chance: &mut Chance) -> String {
        let mut path = String::new();
        for _ in 0..chance.within(1, if self.calm { 2 } else { 4 }) {
            path.push_str(&format!("/n{}", chance.below(self.names)));
        }
        path
    }

    /// Something large, on a machine that runs.
    pub(super) fn large(&self, world: &mut World, kind: Kind, number: usize) {
        let mut chance = Chance::new(self.seed, &format!("load {kind} {number}"));
        let running = world.running();
        if running.is_empty() {
            return;
        }
        let machine = *chance.one_of(&running);
        let done = match kind {
            Kind::WideNode => wide(world, machine),
            Kind::DeepPath => deep(world, machine),
            _ => large_set(world, machine, &mut chance),
        };
        if done.is_some() {
            world.tally.meet(kind);
        }
    }
}

/// A line of a kind of load.
fn load_line(kind: Kind, chance: &mut Chance) -> String {
    match kind {
        Kind::HotProperty => match chance.below(3) {
            0 => "add /hot".to_owned(),
            1 => format!("set /hot p {}", chance.below(1_000)),
            _ => "inc /hot p 1".to_owned(),
        },
        Kind::HotParent => match chance.below(4) {
            0 => "add /busy".to_owned(),
            1 => "add_unique /busy/item".to_owned(),
            _ => format!("add /busy/c{}", chance.below(1_000)),
        },
        _ => {
            let node = |chance: &mut Chance| format!("k{}", chance.index(CONTENDED));
            let (a, b) = (node(chance), node(chance));
            match chance.below(4) {
                0 => format!("add /{a}"),
                1 => format!("move /{a} /{b}/{a}"),
                2 => format!("move /{a}/{b} /{b}"),
                _ => format!("move /{a} /{b}"),
            }
        }
    }
}

/// What has to be there before everybody can write on it.
fn prepared(kind: Kind) -> Vec<String> {
    match kind {
        Kind::HotProperty => vec!["add /hot".to_owned()],
        Kind::HotParent => vec!["add /busy".to_owned()],
        _ => (0..CONTENDED).map(|n| format!("add /k{n}")).collect(),
    }
}

/// The node that a line is about, if it is there.
fn target(line: &str, draft: &Draft) -> Option<NodeId> {
    let at = line.split(' ').nth(1)?;
    draft.resolve(&path(at)).ok()?
}

/// Puts a line into a draft. Nothing if its view refuses it; otherwise what was written on, if that
/// is what the load is about.
fn try_line(draft: &mut Draft, line: &str, kind: Option<Kind>) -> Option<Option<(Kind, NodeId)>> {
    let on = kind.and_then(|kind| match kind {
        Kind::HotProperty if !line.starts_with("add") => target(line, draft),
        Kind::HotParent if line.contains("/busy/") => target("add /busy", draft),
        Kind::ContendedMoves if line.starts_with("move") => Some(NodeId::ROOT),
        _ => None,
    });
    let operation = parse_line(line).expect("a well-formed line");
    draft.apply(&operation).ok()?;
    Some(kind.zip(on))
}

/// A draft on what is to be seen on a machine that runs.
pub(super) fn draft(world: &World, machine: usize) -> Draft {
    let replica = world.replica(machine);
    Draft::new(replica.state(RepoId::MAIN).snapshot(), replica.origin())
}

fn path(text: &str) -> NodePath {
    text.parse().expect("a well-formed path")
}

/// Adds a node with very many children, in some saves.
fn wide(world: &mut World, machine: usize) -> Option<()> {
    let mut first = draft(world, machine);
    first.overwrite(true);
    let parent = match first.resolve(&path("/wide")).ok()? {
        Some(node) => node,
        None => {
            let root = NodeId::ROOT;
            first.add(root, &NodeName::new("wide").ok()?).ok()?
        }
    };
    let mut next = Some(first);
    for step in 0..WIDE_CHILDREN / WIDE_STEP {
        // What was saved before is part of what the next one sees, published or not.
        let mut draft = next.take().unwrap_or_else(|| {
            let replica = world.replica(machine);
            Draft::new(replica.state(RepoId::MAIN).latest(), replica.origin())
        });
        draft.overwrite(true);
        for child in 0..WIDE_STEP {
            let name = NodeName::new(&format!("c{}", step * WIDE_STEP + child)).ok()?;
            // One that is there already is left as it is.
            let _ = draft.add(parent, &name);
        }
        if !world.save(machine, &draft) || !world.machines[machine].is_up() {
            return None;
        }
    }
    Some(())
}

/// Adds a path of very many names.
fn deep(world: &mut World, machine: usize) -> Option<()> {
    let mut draft = draft(world, machine);
    draft.overwrite(true);
    let mut at = NodeId::ROOT;
    let name = NodeName::new("d").ok()?;
    for depth in 0..DEEP_NAMES {
        let there = depth == 0 && draft.resolve(&path("/d")).ok()?.is_some();
        if there {
            return None;
        }
        at = draft.add(at, &name).ok()?;
    }
    draft
        .set(at, &PropertyName::new("bottom").ok()?, Value::from(1))
        .ok()?;
    world.save(machine, &draft).then_some(())
}

/// Saves as much as one change set can hold.
fn large_set(world: &mut World, machine: usize, chance: &mut Chance) -> Option<()> {
    let mut draft = draft(world, machine);
    draft.overwrite(true);
    let node = match draft.resolve(&path("/large")).ok()? {
        Some(node) => node,
        None => {
            let root = NodeId::ROOT;
            draft.add(root, &NodeName::new("large").ok()?).ok()?
        }
    };
    for part in 0..5 {
        let room = (CHANGE_SET_BYTES_MAX - 512).saturating_sub(draft.encoded_estimate());
        let length = room.min(VALUE_BYTES_MAX - 64);
        if length < 64 {
            break;
        }
        let letter = char::from(b'a' + u8::try_from(chance.below(26)).ok()?);
        let text = letter.to_string().repeat(length);
        let name = PropertyName::new(&format!("part{part}")).ok()?;
        let set = draft.set(node, &name, Value::from(text.as_str()));
        set.expect("a value that fits");
    }
    world.save(machine, &draft).then_some(())
}
