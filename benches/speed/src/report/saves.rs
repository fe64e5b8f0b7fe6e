//! What one save costs: state records and bytes of them, and records read.

use leveret_sim::report::chart::Unit;

use super::grove::{Cost, Grove, place, tree};
use super::{Claim, series};

const KINDS: [&str; 4] = ["set", "add", "move", "remove"];

pub(super) fn claims(sizes: &[usize]) -> Vec<Claim> {
    let mut claims = by_nodes(sizes);
    claims.push(by_width(sizes));
    claims.push(by_depth());
    claims.push(by_history(sizes));
    claims
}

/// One save of each kind.
fn each(grove: &mut Grove, node: &str, parent: &str) -> [Cost; 4] {
    [
        grove.cost(&format!("set {node} x 2")),
        grove.cost(&format!("add {parent}/fresh")),
        grove.cost(&format!("move {parent}/fresh {node}/moved")),
        grove.cost(&format!("remove {node}/moved")),
    ]
}

fn by_nodes(sizes: &[usize]) -> Vec<Claim> {
    let mut costs = Vec::new();
    for &nodes in sizes {
        let mut grove = Grove::new(Default::default());
        grove.plant(tree(nodes));
        costs.push((
            nodes,
            each(&mut grove, &place(nodes - 1), &place(nodes / 2)),
        ));
    }
    let rows = |of: fn(&Cost) -> f64| -> Vec<_> {
        let row = |(nodes, costs): &(usize, [Cost; 4])| (*nodes, costs.each_ref().map(of));
        costs.iter().map(row).collect()
    };
    vec![
        Claim {
            name: "save-records",
            title: "State records that one save changes, by nodes in the tree",
            x: "nodes",
            y: "records",
            unit: Unit::Count,
            series: series(KINDS, &rows(|cost| cost.written)),
        },
        Claim {
            name: "save-bytes",
            title: "Bytes of the state records that one save changes, by nodes in the tree",
            x: "nodes",
            y: "bytes",
            unit: Unit::Bytes,
            series: series(KINDS, &rows(|cost| cost.bytes)),
        },
    ]
}

fn by_width(sizes: &[usize]) -> Claim {
    let mut rows = Vec::new();
    for &width in sizes {
        let mut grove = Grove::new(Default::default());
        grove.save(&["add /wide".into(), "add /side".into()]);
        grove.plant((0..width).map(|i| format!("add /wide/n{i}")));
        let costs = each(&mut grove, "/side", "/wide");
        rows.push((width, costs.map(|cost| cost.read + cost.written)));
    }
    Claim {
        name: "save-width",
        title: "Records that one save reads and changes, by children of the parent",
        x: "children",
        y: "records",
        unit: Unit::Count,
        series: series(KINDS, &rows),
    }
}

fn by_depth() -> Claim {
    let mut rows = Vec::new();
    for depth in [1, 4, 16, 64, 256, 510] {
        let mut grove = Grove::new(Default::default());
        let way = |depth: usize| "/n".repeat(depth);
        grove.plant((1..=depth).map(|i| format!("add {}", way(i))));
        let costs = each(&mut grove, &way(depth), &way(depth));
        rows.push((depth, costs.map(|cost| cost.read + cost.written)));
    }
    Claim {
        name: "save-depth",
        title: "Records that one save reads and changes, by depth of the node",
        x: "depth",
        y: "records",
        unit: Unit::Count,
        series: series(KINDS, &rows),
    }
}

fn by_history(sizes: &[usize]) -> Claim {
    let mut rows = Vec::new();
    for &writes in sizes {
        let mut grove = Grove::new(Default::default());
        grove.save(&["add /a".into()]);
        for i in 0..writes {
            grove.save(&[format!("set /a x {i}")]);
            if i % 1_000 == 0 {
                grove.settle();
            }
        }
        grove.settle();
        // A write now and then begins another segment: the mean of some hundreds.
        let mut sum = Cost::default();
        const MEAN: usize = 500;
        for i in 0..MEAN {
            let cost = grove.cost(&format!("set /a x -{i}"));
            sum.bytes += cost.bytes / MEAN as f64;
            sum.written += cost.written / MEAN as f64;
        }
        rows.push((writes, [sum.bytes]));
    }
    Claim {
        name: "save-history",
        title: "Bytes of the state records that one more write of a property changes, by writes before it",
        x: "writes of the property",
        y: "bytes, mean of 500",
        unit: Unit::Bytes,
        series: series(["set"], &rows),
    }
}
