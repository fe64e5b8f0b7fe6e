//! What a user does to a tree that others edit at the same time: one save after the other, by
//! the paths that it saw a moment ago.

use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

/// How many nodes are shared, and how many names there are for them.
pub(crate) const NODES: usize = 200;
/// Nothing is moved or added deeper than this on purpose.
const DEPTH_MAX: usize = 7;
/// Properties of a node that anybody writes.
const PROPERTIES: [&str; 4] = ["colour", "count", "size", "note"];

/// What kind of save comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Move,
    Remove,
    Other,
}

/// A node that was seen.
struct Seen {
    path: String,
    name: String,
    depth: usize,
    /// Nodes below it.
    below: usize,
}

/// A user.
pub(crate) struct User {
    rng: ChaCha8Rng,
    /// In what order kinds come: of ten, two moves and one removal.
    kinds: Vec<Kind>,
    seen: Vec<Seen>,
}

fn name(number: usize) -> String {
    format!("n{number:03}")
}

/// The nodes that all begin with, as operations of one save: twenty with nine each below them.
pub(crate) fn shared_nodes() -> String {
    let path = |number: usize| match number % 10 {
        0 => format!("/{}", name(number)),
        _ => format!("/{}/{}", name(number - number % 10), name(number)),
    };
    (0..NODES)
        .map(|number| format!("add {}\n", path(number)))
        .collect()
}

impl User {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            kinds: Vec::new(),
            seen: Vec::new(),
        }
    }

    /// Looks at the tree.
    pub(crate) fn look(&mut self, tree: &str) {
        let tree: Value = serde_json::from_str(tree).unwrap();
        self.seen.clear();
        // Depth first; a node is left when all that was pushed after it is done.
        enum Step<'a> {
            Enter(String, &'a str, &'a Value, usize),
            Leave(usize),
        }
        let mut steps = vec![Step::Enter(String::new(), "", &tree, 0)];
        while let Some(step) = steps.pop() {
            match step {
                Step::Enter(path, name, node, depth) => {
                    steps.push(Step::Leave(self.seen.len()));
                    let members = node.as_object().unwrap();
                    for (name, member) in members {
                        if is_node(member) {
                            let path = format!("{path}/{name}");
                            steps.push(Step::Enter(path, name, member, depth + 1));
                        }
                    }
                    self.seen.push(Seen {
                        path,
                        name: name.to_owned(),
                        depth,
                        below: 0,
                    });
                }
                Step::Leave(index) => self.seen[index].below = self.seen.len() - index - 1,
            }
        }
        // The root is a parent, but nothing is done to it.
        self.seen.remove(0);
    }

    /// What kind of save comes next; it stays the next until [`User::done`].
    pub(crate) fn kind(&mut self) -> Kind {
        if self.kinds.is_empty() {
            self.kinds = vec![Kind::Other; 7];
            for kind in [Kind::Move, Kind::Move, Kind::Remove] {
                let at = self.rng.random_range(0..=self.kinds.len());
                self.kinds.insert(at, kind);
            }
        }
        self.kinds[self.kinds.len() - 1]
    }

    /// The save was made.
    pub(crate) fn done(&mut self) {
        self.kinds.pop();
    }

    /// Operations of a save of the next kind. They may be refused: others have been there.
    pub(crate) fn operations(&mut self) -> String {
        match self.kind() {
            _ if self.seen.len() < 10 => self.add(),
            Kind::Move => self.move_somewhere(),
            Kind::Remove => self.remove(),
            Kind::Other => self.other(),
        }
    }

    fn any(&mut self) -> &Seen {
        self.seen.choose(&mut self.rng).unwrap()
    }

    /// A path to put something under: a node that is not too deep, or now and then the root.
    fn parent(&mut self) -> String {
        if self.rng.random_bool(0.1) {
            return String::new();
        }
        for _ in 0..20 {
            let seen = self.any();
            if seen.depth < DEPTH_MAX {
                return seen.path.clone();
            }
        }
        String::new()
    }

    fn any_name(&mut self) -> String {
        name(self.rng.random_range(0..NODES))
    }

    fn move_somewhere(&mut self) -> String {
        let (from, kept) = {
            let seen = self.any();
            (seen.path.clone(), plain(&seen.name).to_owned())
        };
        let mut parent = self.parent();
        // Often to where others move things too, so that names and ways clash.
        if self.rng.random_bool(0.3) {
            let number = self.rng.random_range(0..4) * 10;
            let busy = name(number);
            let found = self.seen.iter().find(|seen| seen.name == busy);
            parent = found.map_or(parent, |seen| seen.path.clone());
        }
        let name = match self.rng.random_bool(0.3) {
            true => self.any_name(),
            false => kept,
        };
        format!("move {from} {parent}/{name}\n")
    }

    fn remove(&mut self) -> String {
        let most = if self.rng.random_bool(0.9) { 3 } else { 40 };
        let fitting: Vec<&Seen> = self.seen.iter().filter(|seen| seen.below <= most).collect();
        let chosen = fitting.choose(&mut self.rng).unwrap();
        format!("remove {}\n", chosen.path)
    }

    fn add(&mut self) -> String {
        let (parent, name) = (self.parent(), self.any_name());
        format!("add {parent}/{name}\nset {parent}/{name} count 1\n")
    }

    fn other(&mut self) -> String {
        let adds = if self.seen.len() < NODES { 0.6 } else { 0.15 };
        if self.rng.random_bool(adds) {
            return self.add();
        }
        let path = self.any().path.clone();
        let property = *PROPERTIES.choose(&mut self.rng).unwrap();
        match self.rng.random_range(0..10) {
            0..4 => format!("set {path} {property} {}\n", self.value()),
            4..7 => {
                let delta = self.rng.random_range(-9..=9);
                format!("inc {path} count {delta}\n")
            }
            7 => format!("unset {path} {property}\nset {path} seen true\n"),
            8 => format!("order {path} first\n"),
            _ => {
                let parent = &path[..path.rfind('/').unwrap()];
                format!("move {path} {parent}/{}\n", self.any_name())
            }
        }
    }

    fn value(&mut self) -> String {
        let number: i32 = self.rng.random();
        match self.rng.random_range(0..6) {
            0 => number.to_string(),
            1 => format!("{number}.5"),
            2 => format!("\"text {number}\""),
            3 => format!("[true, {number}]"),
            4 => r#"{"$bytes": "aGFyZQ=="}"#.to_owned(),
            _ => r#"{"$time": "2024-02-29T12:00:00Z"}"#.to_owned(),
        }
    }
}

/// Whether a member of a node is a child of it, and no value.
fn is_node(member: &Value) -> bool {
    let mut members = match member.as_object() {
        Some(members) => members.keys(),
        None => return false,
    };
    !members.any(|name| name.starts_with('$'))
}

/// A name without what tells it from one like it.
fn plain(shown: &str) -> &str {
    shown.split('~').next().unwrap_or(shown)
}
