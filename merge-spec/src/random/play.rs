//! Playing a script: authors at their desks, and what they receive of each other.

use std::collections::{BTreeMap, BTreeSet};

use crate::case::author::Desk;
use crate::case::{Case, Expect, Save, frontier};
use crate::change::{ChangeSet, NodeId, Origin, SetId};
use crate::fold::Fold;
use crate::random::{AUTHORS, Edit, Event, History, Script, Step};

pub(super) const NAMES: [&str; 4] = ["a", "b", "c", "d"];
pub(super) const PROPERTIES: [&str; 2] = ["v", "w"];
pub(super) const VALUES: [&str; 6] = ["1", "2", "1.0", "\"x\"", "true", "9223372036854775807"];

/// What the authors start from, or a part of it.
pub(super) const BASE: [&str; 12] = [
    "add /a",
    "add /b",
    "add /c",
    "add /a/a",
    "add /a/b",
    "add /b/a",
    "add /b/c",
    "add /a/a/b",
    "add /c/d",
    "set /a v 1",
    "set /b v \"x\"",
    "inc /c w 5",
];

const WORDS: [&str; AUTHORS] = ["A", "B", "C", "D"];

/// The most nodes, below the root, that an author adds to.
const NODES_MAX: usize = 24;

/// One who saves and receives.
struct Author {
    origin: Origin,
    /// His own saves, oldest first.
    own: Vec<SetId>,
    /// All he has seen, his own included.
    seen: BTreeSet<SetId>,
    /// The fold of that; nothing if it has yet to be computed.
    view: Option<Fold>,
}

/// All that has happened so far.
pub(super) struct Play {
    authors: Vec<Author>,
    written: BTreeMap<SetId, ChangeSet>,
    histories: BTreeMap<SetId, BTreeSet<SetId>>,
    /// What everybody had seen when all last met, and the fold of it. All that came since is
    /// newer, so a view can be folded on top of it.
    met: (BTreeSet<SetId>, Fold),
    saves: Vec<Save>,
    events: Vec<Event>,
}

impl History {
    /// Plays a script. Steps that come to nothing leave no trace.
    #[must_use]
    pub fn play(script: &Script) -> History {
        let mut play = Play::begin(&BASE[..script.base.min(BASE.len())]);
        for step in &script.steps {
            play.step(step);
        }
        play.end()
    }
}

impl Play {
    fn begin(base: &[&str]) -> Play {
        let id = SetId {
            time: 0,
            origin: Origin::BASE,
        };
        let draft = ChangeSet {
            id,
            sequence: 1,
            dependencies: Vec::new(),
            all_or_nothing: false,
            operations: Vec::new(),
        };
        let mut desk = Desk::new(Fold::empty(), draft);
        let ops = written_lines(&mut desk, base.iter().map(|line| (*line).to_owned()));
        let (set, view) = desk.finish();
        let author = |word| Author {
            origin: Origin::from_word(word).expect("a word"),
            own: Vec::new(),
            seen: BTreeSet::from([id]),
            view: Some(view.clone()),
        };
        Play {
            authors: WORDS.into_iter().map(author).collect(),
            written: BTreeMap::from([(id, set)]),
            histories: BTreeMap::from([(id, BTreeSet::new())]),
            met: (BTreeSet::from([id]), view),
            saves: vec![Save {
                id,
                saw: Vec::new(),
                all_or_nothing: false,
                ops,
            }],
            events: Vec::new(),
        }
    }

    fn end(self) -> History {
        let change_sets: Vec<ChangeSet> = self.written.into_values().collect();
        let expect = Expect::of(&crate::fold(&change_sets));
        History {
            case: Case {
                file: "random".to_owned(),
                title: "random".to_owned(),
                saves: self.saves,
                change_sets,
                expect,
            },
            events: self.events,
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Save {
                author,
                leap,
                all_or_nothing,
                edits,
            } => self.save(*author, *leap, *all_or_nothing, |view, turn| {
                edits.get(turn).map(|edit| lines(view, edit))
            }),
            Step::Deliver { to, from, but } => self.deliver(*to, *from, *but),
            Step::Meet => self.meet(),
            Step::Contest(contest) => self.contest(contest),
        }
    }

    /// Everybody receives everything.
    pub(super) fn meet(&mut self) {
        for to in 0..AUTHORS {
            (0..AUTHORS).for_each(|from| self.deliver(to, from, 0));
        }
        let state = self.view(0).clone();
        self.met = (self.authors[0].seen.clone(), state);
    }

    /// Has an author save. `next` is asked for lines, with what he sees then and how often it was
    /// asked before, until it has none; those that are refused are left out.
    pub(super) fn save(
        &mut self,
        author: usize,
        leap: u64,
        all_or_nothing: bool,
        next: impl Fn(&Fold, usize) -> Option<Vec<String>>,
    ) {
        self.view(author);
        let author = &mut self.authors[author % AUTHORS];
        let newest = author
            .seen
            .last()
            .expect("everybody has seen the base")
            .time;
        let id = SetId {
            time: newest + 1 + leap,
            origin: author.origin,
        };
        let deps = frontier(&author.seen, &self.histories, author.own.last().copied());
        let sequence_of = |id: &SetId| (id.origin, self.written[id].sequence);
        let draft = ChangeSet {
            id,
            sequence: author.own.len() as u64 + 1,
            dependencies: deps.iter().map(sequence_of).collect(),
            all_or_nothing,
            operations: Vec::new(),
        };
        let view = author.view.take().expect("it was just asked for");
        let mut desk = Desk::new(view, draft);
        let mut ops = String::new();
        for turn in 0.. {
            let Some(lines) = next(desk.view(), turn) else {
                break;
            };
            ops += &written_lines(&mut desk, lines.into_iter());
        }
        let (set, view) = desk.finish();
        if set.operations.is_empty() {
            return; // the view, with an empty set in it, is dropped
        }
        let saw = deps.into_iter();
        let saw = saw.filter(|id| id.origin != author.origin && id.origin != Origin::BASE);
        self.saves.push(Save {
            id,
            saw: saw.collect(),
            all_or_nothing,
            ops,
        });
        self.histories.insert(id, author.seen.clone());
        self.written.insert(id, set);
        author.view = Some(view);
        author.seen.insert(id);
        author.own.push(id);
        self.events.push(Event::Saved(id));
    }

    /// Has an author receive all but some of the newest of another's sets, with what those saw.
    pub(super) fn deliver(&mut self, to: usize, from: usize, but: usize) {
        let own = &self.authors[from % AUTHORS].own;
        let Some(newest) = own.len().checked_sub(1 + but).map(|at| own[at]) else {
            return;
        };
        let to = &mut self.authors[to % AUTHORS];
        let mut new: Vec<SetId> = self.histories[&newest]
            .difference(&to.seen)
            .copied()
            .collect();
        if !to.seen.contains(&newest) {
            new.push(newest);
        }
        let Some(oldest) = new.first() else {
            return;
        };
        // What is newer than all he saw can be applied on top; else all is folded again, later.
        match &mut to.view {
            Some(view) if to.seen.last() < Some(oldest) => {
                new.iter().for_each(|id| view.apply(&self.written[id]));
            }
            view => *view = None,
        }
        to.seen.extend(&new);
        self.events.push(Event::Delivered {
            to: to.origin,
            sets: new,
        });
    }

    /// What an author sees.
    pub(super) fn view(&mut self, author: usize) -> &Fold {
        let author = &mut self.authors[author % AUTHORS];
        author.view.get_or_insert_with(|| {
            let (met, state) = &self.met;
            let mut view = state.clone();
            let since = author.seen.difference(met);
            since.for_each(|id| view.apply(&self.written[id]));
            view
        })
    }
}

/// Writes lines and leaves out those that are refused.
fn written_lines(desk: &mut Desk, lines: impl Iterator<Item = String>) -> String {
    let mut written = String::new();
    for line in lines {
        if desk.write(&line).is_ok() {
            written += &line;
            written.push('\n');
        }
    }
    written
}

/// The nodes that an author sees, without the root, those near it first; and the path of each,
/// where siblings of one name are called by their ids (M10).
pub(super) fn live(view: &Fold) -> Vec<(NodeId, String)> {
    let mut children: BTreeMap<NodeId, Vec<(&str, NodeId)>> = BTreeMap::new();
    for (id, node) in view.nodes() {
        if let (Some(parent), Some(name)) = (node.parent(), node.name()) {
            children
                .entry(parent.to)
                .or_default()
                .push((&name.name, *id));
        }
    }
    let mut live = vec![(NodeId::ROOT, String::new())];
    let mut at = 0;
    while let Some((id, path)) = live.get(at).cloned() {
        let mut below = children.remove(&id).unwrap_or_default();
        below.sort_unstable();
        let alone = |name: &str| below.iter().filter(|(other, _)| *other == name).count() == 1;
        for (name, child) in &below {
            let digits = || child.to_hex()[..8].to_owned();
            live.push(if alone(name) {
                (*child, format!("{path}/{name}"))
            } else {
                (*child, format!("{path}/{name}~{}", digits()))
            });
        }
        at += 1;
    }
    live.remove(0);
    live
}

/// The lines of an edit, as they make sense to an author who sees this.
pub(super) fn lines(view: &Fold, edit: &Edit) -> Vec<String> {
    let live = live(view);
    let node = |pick: usize| {
        live.get(pick % live.len().max(1))
            .map_or("/", |(_, path)| path)
    };
    // The root among them, as the empty path.
    let place = |pick: usize| match pick % (live.len() + 1) {
        0 => "",
        at => &live[at - 1].1,
    };
    let or_root = |path: &str| if path.is_empty() { "/" } else { path }.to_owned();
    let name = |pick: usize| NAMES[pick % NAMES.len()];
    let property = |pick: usize| PROPERTIES[pick % PROPERTIES.len()];
    let full = live.len() >= NODES_MAX;
    let line = match edit {
        Edit::Add(..) | Edit::AddUnique(..) if full => return Vec::new(),
        Edit::Add(under, n) => format!("add {}/{}", place(*under), name(*n)),
        Edit::AddUnique(under, n) => format!("add_unique {}/{}", place(*under), name(*n)),
        Edit::Remove(pick) => format!("remove {}", node(*pick)),
        Edit::Renew(pick) => {
            let path = node(*pick);
            return vec![format!("remove {path}"), format!("add {path}")];
        }
        Edit::Move(pick, to, with) => {
            let (path, to) = (node(*pick), place(*to));
            let last = with.map_or(last_name(path), name);
            format!("move {path} {to}/{last}")
        }
        Edit::Rename(pick, n) => {
            let path = node(*pick);
            format!("move {path} {}/{}", above(path), name(*n))
        }
        Edit::Set(pick, p, value) => {
            let (at, value) = (or_root(place(*pick)), VALUES[value % VALUES.len()]);
            format!("set {at} {} {value}", property(*p))
        }
        Edit::Unset(pick, p) => format!("unset {} {}", or_root(place(*pick)), property(*p)),
        Edit::Inc(pick, p, delta) => {
            format!("inc {} {} {delta}", or_root(place(*pick)), property(*p))
        }
        Edit::Order(pick, way, by) => {
            let path = node(*pick);
            let sibling =
                |other: &&(NodeId, String)| above(&other.1) == above(path) && other.1 != path;
            let siblings: Vec<&str> = live.iter().filter(sibling).map(|(_, p)| &p[..]).collect();
            let beside = siblings.get(by % siblings.len().max(1));
            let beside = beside.and_then(|path| path.rsplit('/').next());
            match (way % 4, beside) {
                (2, Some(beside)) => format!("order {path} before {beside}"),
                (3, Some(beside)) => format!("order {path} after {beside}"),
                (way, _) if way % 2 == 0 => format!("order {path} first"),
                _ => format!("order {path} last"),
            }
        }
        Edit::Dismiss(pick) => {
            let open = view.conflict_pairs();
            match open.get(pick % open.len().max(1)) {
                Some(pair) => format!("dismiss {pair}"),
                None => return Vec::new(),
            }
        }
    };
    vec![line]
}

/// The path of the parent; empty for the root.
pub(super) fn above(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(above, _)| above)
}

/// The last element, without the digits that tell it from its namesakes.
fn last_name(path: &str) -> &str {
    let last = path.rsplit('/').next().unwrap_or_default();
    last.split('~').next().unwrap_or_default()
}
