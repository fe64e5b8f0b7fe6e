//! Contests: authors who meet without knowing of each other.
//!
//! Each is a small plot around a few nodes that the first author sees. The others take part as
//! far as they see nodes at the same paths.

use proptest::prelude::*;

use crate::random::play::{BASE, NAMES, Play, above, lines, live};
use crate::random::{AUTHORS, Contest};

/// What a contest is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Two nodes are moved, each below the other (M9).
    Swap,
    /// Likewise, and one of them goes to the trash in between.
    SwapInTrash,
    /// Nodes are moved, and moved on, into one that is removed (M8 (a), M9).
    MoveIn,
    /// Two remove a node and add it again (M3, M6).
    Renew,
    /// A node is added, filled and removed, while another adds it (M6).
    Blink,
    /// A node is added and goes with its parent, while others add and edit there (M6, M7, M14).
    Sink,
    /// What one removal hands back, another takes again (M8 (a)).
    Cascade,
    /// A removal in what is trashed already hands back (M7, M8).
    Buried,
    /// A node is moved away, in vain, and its old place removed by one who saw that (M8 (b)).
    InVain,
    /// A node and its child are moved while the node is removed (M9, M14).
    TakeOut,
    /// Siblings get the same name (M10).
    Namesakes,
    /// A node is added and moved by the one while the other adds it (M6).
    Elsewhere,
    /// Two write the parent, the name or the order of one node (M14).
    Duel,
    /// A node is moved away in vain and back, and its place removed by one who saw that (M8 (b)).
    BackAgain,
    /// A set is voided, and another works on what was made there (M12, M13).
    Void,
    /// Many write one property, one of them a long text (M4, M5).
    Crowd,
}

impl Kind {
    /// Any of them; the rarer a rule is met by accident, the more often.
    pub(super) fn any() -> impl Strategy<Value = Kind> {
        prop_oneof![
            4 => Just(Kind::Swap),
            7 => Just(Kind::SwapInTrash),
            5 => Just(Kind::MoveIn),
            5 => Just(Kind::Sink),
            1 => Just(Kind::Renew),
            6 => Just(Kind::Blink),
            5 => Just(Kind::Cascade),
            5 => Just(Kind::Buried),
            6 => Just(Kind::InVain),
            5 => Just(Kind::TakeOut),
            8 => Just(Kind::Namesakes),
            5 => Just(Kind::Elsewhere),
            4 => Just(Kind::Duel),
            2 => Just(Kind::BackAgain),
            5 => Just(Kind::Void),
            2 => Just(Kind::Crowd),
        ]
    }
}

/// One move in a contest. Authors are numbers, the first being 0.
enum Act {
    Saves(Saves),
    /// The first number receives all that the second has.
    Receives(usize, usize),
}

/// An author saves.
struct Saves {
    author: usize,
    /// How far his clock leaps at least.
    leap: u64,
    /// Whether the save is all-or-nothing whatever the contest says.
    whole: bool,
    lines: Vec<String>,
}

fn saves(author: usize, lines: &[String]) -> Act {
    saves_late(author, 0, lines)
}

/// A save that is probably newer than those of the others.
fn saves_late(author: usize, leap: u64, lines: &[String]) -> Act {
    let lines = lines.to_vec();
    let whole = false;
    Act::Saves(Saves {
        author,
        leap,
        whole,
        lines,
    })
}

fn saves_whole(author: usize, leap: u64, lines: &[String]) -> Act {
    let lines = lines.to_vec();
    let whole = true;
    Act::Saves(Saves {
        author,
        leap,
        whole,
        lines,
    })
}

/// So long is a text that whoever keeps writes together puts it elsewhere.
const LONG: usize = 2_100;

/// The fewest nodes that a contest is worth holding over.
const NODES_MIN: usize = 8;

impl Play {
    pub(super) fn contest(&mut self, contest: &Contest) {
        let Contest {
            kind,
            first,
            nodes,
            name,
            leaps,
            edits,
            all_or_nothing,
            meet,
        } = contest;
        if *meet {
            self.meet();
        }
        if live(self.view(*first)).len() < NODES_MIN {
            let plant = BASE.map(str::to_owned).to_vec();
            self.save(*first, 0, false, |_, turn| {
                (turn == 0).then(|| plant.clone())
            });
            (1..AUTHORS).for_each(|other| self.deliver(first + other, *first, 0));
        }
        let live = live(self.view(*first));
        let Some(paths) = choose(
            &live.into_iter().map(|(_, path)| path).collect::<Vec<_>>(),
            *nodes,
        ) else {
            return;
        };
        let mut edits = edits.chunks(3);
        let acts = acts(*kind, &paths, NAMES[name % NAMES.len()]);
        for (turn, act) in acts.into_iter().enumerate() {
            match act {
                Act::Saves(saves) => {
                    let leap = saves.leap + leaps[turn % leaps.len()];
                    let besides = edits.next().unwrap_or_default();
                    let whole = saves.whole || *all_or_nothing;
                    let author = first + saves.author;
                    self.save(author, leap, whole, |view, asked| match asked {
                        0 => Some(saves.lines.clone()),
                        _ => besides.get(asked - 1).map(|edit| lines(view, edit)),
                    });
                }
                Act::Receives(to, from) => self.deliver(first + to, first + from, 0),
            }
        }
    }
}

/// Three of the paths, none of them above or below another if that can be; the first two never
/// are.
fn choose<'a>(paths: &'a [String], [p, q, r]: [usize; 3]) -> Option<[String; 3]> {
    let apart = |from: &[&String]| -> Vec<&'a String> {
        let below = |path: &str, above: &str| format!("{path}/").starts_with(&format!("{above}/"));
        let nested = |path: &&String| from.iter().any(|o| below(path, o) || below(o, path));
        paths.iter().filter(|path| !nested(path)).collect()
    };
    let pick = |from: &[&'a String], number: usize| from.get(number % from.len().max(1)).copied();
    let p = pick(&apart(&[]), p)?;
    let q = pick(&apart(&[p]), q)?;
    let r = pick(&apart(&[p, q]), r).unwrap_or(p);
    Some([p, q, r].map(String::clone))
}

/// What the authors do, in this order, about the nodes at three paths.
///
/// Where a plot depends on a name that is free, it takes one of `x`, `y` and `z`, which only plots
/// give.
fn acts(kind: Kind, [p, q, r]: &[String; 3], name: &str) -> Vec<Act> {
    let (p_above, q_above) = (above(p), above(q));
    match kind {
        Kind::Swap => vec![
            saves(2, &[format!("move {r} {q}/y")]),
            Act::Receives(0, 2),
            saves(0, &[format!("move {p} {q}/y/x"), format!("move {p} {q}/x")]),
            saves_late(1, 3, &[format!("move {q} {p}/x")]),
        ],
        Kind::SwapInTrash => vec![
            saves(0, &[format!("move {p} {q}/y")]),
            Act::Receives(2, 0),
            saves(2, &[format!("remove {q}")]),
            saves_late(1, 8, &[format!("move {q} {p}/y")]),
        ],
        Kind::MoveIn => vec![
            saves(
                0,
                &[
                    format!("add {q}/{name}"),
                    format!("move {p} {q}/x"),
                    format!("move {q}/x {q}/{name}/x"),
                    format!("move {r} {q}/{name}/y"),
                    format!("add {q}/{name}/z"),
                    format!("move {q}/{name}/z {q}/z"),
                ],
            ),
            saves_late(1, 4, &[format!("remove {q}")]),
            saves_whole(
                2,
                8,
                &[format!("set {r} v 1"), format!("move {r} {q}/{name}")],
            ),
        ],
        Kind::Sink => vec![
            saves(
                0,
                &[
                    format!("add {q}/x"),
                    format!("set {q} w 4"),
                    format!("remove {q}"),
                ],
            ),
            saves_late(
                1,
                3,
                &[
                    format!("add {q}/x"),
                    format!("set {q}/x v 1"),
                    format!("move {q} {q_above}/z"),
                ],
            ),
            saves(
                2,
                &[
                    format!("add {q}/{name}"),
                    format!("inc {q} w 2"),
                    format!("remove {q}"),
                ],
            ),
            saves_whole(3, 3, &[format!("add {q}/y"), format!("set {p} v 2")]),
        ],
        Kind::Renew => vec![
            saves(
                0,
                &[
                    format!("remove {q}"),
                    format!("add {q}"),
                    format!("set {q} v 1"),
                ],
            ),
            saves(
                1,
                &[
                    format!("remove {q}"),
                    format!("add {q}"),
                    format!("inc {q} v 1"),
                ],
            ),
        ],
        Kind::Blink => vec![
            saves(
                0,
                &[
                    format!("add {q}/y"),
                    format!("set {q}/y w 1"),
                    format!("add {q}/y/{name}"),
                ],
            ),
            Act::Receives(2, 0),
            saves(
                2,
                &[
                    format!("set {q}/y v 3"),
                    format!("add {q}/y/z"),
                    format!("order {q}/y first"),
                ],
            ),
            saves_late(0, 4, &[format!("remove {q}/y")]),
            saves_late(1, 16, &[format!("add {q}/y"), format!("inc {q}/y w 1")]),
        ],
        Kind::Cascade => vec![
            saves(
                0,
                &[
                    format!("add {r}/x"),
                    format!("add {r}/y"),
                    format!("add {r}/x/{name}"),
                ],
            ),
            Act::Receives(1, 0),
            Act::Receives(2, 0),
            saves(
                0,
                &[
                    format!("move {r}/y {r}/x/{name}/y"),
                    format!("set {r}/x v 1"),
                ],
            ),
            saves_late(
                1,
                3,
                &[format!("remove {r}/x/{name}"), format!("remove {r}/x")],
            ),
            saves_late(2, 6, &[format!("remove {r}")]),
        ],
        Kind::Buried => vec![
            saves(0, &[format!("add {q}/x"), format!("add {q}/x/{name}")]),
            Act::Receives(1, 0),
            Act::Receives(2, 0),
            saves(0, &[format!("move {p} {q}/x/{name}/y")]),
            Act::Receives(1, 0),
            saves(1, &[format!("remove {q}")]),
            saves_late(2, 6, &[format!("remove {q}/x")]),
        ],
        Kind::InVain => vec![
            saves(0, &[format!("add {q}/x"), format!("set {q}/x w 1")]),
            Act::Receives(1, 0),
            Act::Receives(2, 0),
            saves(1, &[format!("remove {p}")]),
            saves_late(0, 8, &[format!("move {q}/x {p}/z")]),
            Act::Receives(2, 0),
            saves(2, &[format!("remove {q}")]),
        ],
        Kind::BackAgain => vec![
            saves(0, &[format!("add {q}/x"), format!("set {q}/x w 1")]),
            Act::Receives(1, 0),
            Act::Receives(2, 0),
            saves(1, &[format!("remove {p}")]),
            saves_late(0, 8, &[format!("move {q}/x {p}/z")]),
            saves(0, &[format!("move {p}/z {q}/y")]),
            Act::Receives(2, 0),
            saves(2, &[format!("remove {q}")]),
        ],
        Kind::Crowd => vec![
            saves(0, &[format!("set {q} w \"{}\"", "x".repeat(LONG))]),
            saves_late(3, 1, &[format!("set {q} w 5")]),
            saves_late(2, 2, &[format!("inc {q} w 8")]),
            saves_late(
                1,
                3,
                &[1, 2, 3, 4].map(|delta| format!("inc {q} w {delta}")),
            ),
        ],
        Kind::TakeOut => vec![
            saves(0, &[format!("add {q}/{name}"), format!("set {q} v 7")]),
            Act::Receives(1, 0),
            Act::Receives(2, 0),
            saves(3, &[format!("set {q} w 2"), format!("order {q} first")]),
            saves_late(0, 2, &[format!("remove {q}")]),
            saves_late(2, 6, &[format!("move {q}/{name} {p}/x")]),
            saves_late(1, 10, &[format!("move {q} {p}/y")]),
        ],
        Kind::Namesakes => vec![
            saves(0, &[format!("move {p} {p_above}/x{name}")]),
            saves(1, &[format!("move {q} {p_above}/x{name}")]),
            saves(2, &[format!("add_unique {p_above}/x{name}")]),
            saves_whole(3, 4, &[format!("add_unique {p_above}/x{name}")]),
        ],
        Kind::Elsewhere => vec![
            saves(0, &[format!("add {q}/x"), format!("move {q}/x {p}/z")]),
            saves_late(1, 5, &[format!("add {q}/x"), format!("set {q}/x v 2")]),
        ],
        Kind::Duel => vec![
            saves(
                0,
                &[format!("move {q} {p}/y"), format!("order {p}/y first")],
            ),
            saves(1, &[format!("move {q} {r}/z"), format!("order {r}/z last")]),
            saves(
                2,
                &[
                    format!("move {q} {q_above}/y"),
                    format!("set {q_above}/y v \"y\""),
                ],
            ),
            saves_late(
                3,
                4,
                &[
                    format!("order {q} last"),
                    format!("inc {q} v 1"),
                    format!("move {q} {q_above}/z"),
                ],
            ),
        ],
        Kind::Void => vec![
            saves(
                1,
                &[format!("remove {q}"), format!("add_unique {p}/{name}")],
            ),
            saves_whole(0, 6, &[format!("add {p}/x"), format!("set {q} w 3")]),
            Act::Receives(2, 0),
            saves(2, &[format!("set {p}/x v 4"), format!("order {p}/x first")]),
        ],
    }
}
