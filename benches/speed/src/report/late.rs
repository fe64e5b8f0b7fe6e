//! What a change set costs that comes late, and a removal by what is below the node.

use leveret::model::OriginId;
use leveret_sim::engine::Log;
use leveret_sim::report::chart::Unit;

use super::grove::Grove;
use super::{Claim, series};

const LATE: OriginId = OriginId([2; 16]);
/// One in so many of the newer saves is a move.
const MOVES: usize = 100;

pub(super) fn claims(sizes: &[usize]) -> Vec<Claim> {
    let (mut read, mut again) = (Vec::new(), Vec::new());
    for &newer in sizes {
        let costs = [
            late(newer, "set /a/b x 1"),
            late(newer, "add /a/new"),
            late(newer, "move /a/b /c/b"),
            late(newer, "move /c /a/c"),
        ];
        read.push((newer, costs.map(|(read, _)| read)));
        again.push((newer, costs.map(|(_, again)| again)));
    }
    let kinds = [
        "set",
        "add",
        "move of what nobody looked at",
        "move of what newer moves looked at",
    ];
    vec![
        Claim {
            name: "late-records",
            title: "Records read to merge one late change set, by newer ones, 1 % of them moves",
            x: "newer change sets",
            y: "records",
            unit: Unit::Count,
            series: series(kinds, &read),
        },
        Claim {
            name: "late-again",
            title: "Operations evaluated again for one late change set, by newer ones, 1 % of them moves",
            x: "newer change sets",
            y: "operations",
            unit: Unit::Count,
            series: series(kinds, &again),
        },
        removals(sizes),
    ]
}

/// Records read, and operations evaluated again.
fn late(newer: usize, line: &str) -> (f64, f64) {
    let log = Log::default();
    let (mut here, there) = (Grove::new(log.clone()), Grove::new(log));
    let places = ["/a", "/a/b", "/c", "/c/x", "/d", "/d/n"];
    let adds: Vec<String> = places.iter().map(|path| format!("add {path}")).collect();
    let base = here.save(&adds);
    there.engine.merge(&[base]);
    let late = there.draft(here.time + 1, LATE, &[line.to_owned()]);
    here.time += 1;
    let mut is_there = true;
    for i in 0..newer {
        let line = match (i % MOVES, is_there) {
            (0, true) => "move /d/n /c/x/n".to_owned(),
            (0, false) => "move /c/x/n /d/n".to_owned(),
            _ => format!("set /a/b y {i}"),
        };
        is_there ^= i % MOVES == 0;
        here.save(&[line]);
        if i % 1_000 == 999 {
            here.settle();
        }
    }
    here.settle();
    let cost = here.cost_of(&late);
    (cost.read, cost.again)
}

fn removals(sizes: &[usize]) -> Claim {
    let mut rows = Vec::new();
    for &descendants in sizes {
        let mut grove = Grove::new(Default::default());
        grove.save(&["add /top".into(), "add /top/a".into()]);
        grove.plant((1..descendants).map(|i| format!("add /top/a/n{i}")));
        let cost = grove.cost("remove /top");
        rows.push((descendants, [cost.read, cost.written]));
    }
    Claim {
        name: "removal",
        title: "Records that removing a node reads and changes, by nodes below it",
        x: "nodes below",
        y: "records",
        unit: Unit::Count,
        series: series(["read", "changed"], &rows),
    }
}
