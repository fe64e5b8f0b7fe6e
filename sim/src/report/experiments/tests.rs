//! Every experiment in a small size: sane figures, a page that is well formed, and the same again.

use super::*;
use crate::report::markup::{check, check_inside};

fn terms() -> Terms {
    Terms {
        seed: 5,
        replicas: vec![2, 4],
        saves: 60,
    }
}

fn found(experiment: Experiment) -> Value {
    let found = carry_out(&[experiment], &terms(), &mut |_| {}).unwrap();
    assert!(found[0].charts().count() > 0);
    for (_, chart) in found[0].charts() {
        check(&chart.svg());
        check_inside(&chart.svg());
    }
    let page = page(&terms(), &found).html();
    check(&page);
    let command = found[0].section.command.as_deref().unwrap_or_default();
    assert!(page.contains(command), "the page says how it was made");
    found[0].json()["figures"].take()
}

fn rows(figures: &Value, sheet: &str) -> Vec<Value> {
    figures[sheet].as_array().unwrap().clone()
}

fn number(row: &Value, column: &str) -> f64 {
    row[column]
        .as_f64()
        .unwrap_or_else(|| panic!("{column} in {row}"))
}

#[test]
fn half_of_the_replicas_show_a_save_before_all_do_and_loss_makes_it_later() {
    let figures = found(Experiment::Spread);
    let by_size = rows(&figures, "by_size");
    assert_eq!(by_size.len(), 4);
    for row in by_size.iter().chain(&rows(&figures, "by_loss")) {
        assert_eq!(number(row, "saves"), 60.0);
        let times = ["half", "most", "all", "all_99", "all_max"].map(|name| number(row, name));
        assert!(times[0] > 0.0 && times[4] < 10.0, "{row}");
        assert!(times.is_sorted(), "{row}");
        assert!((1.0..4.0).contains(&number(row, "copies")), "{row}");
    }
    let of = |place: &str| {
        let mut rows = rows(&figures, "by_loss");
        rows.retain(|row| row["place"] == place);
        rows
    };
    for place in ["LAN", "world"] {
        let rows = of(place);
        assert!(
            number(&rows[3], "all") > number(&rows[0], "all"),
            "{rows:?}"
        );
    }
    assert!(number(&of("world")[0], "all") > 10.0 * number(&of("LAN")[0], "all"));
}

#[test]
fn load_takes_more_bytes_than_idling() {
    let figures = found(Experiment::Traffic);
    for row in rows(&figures, "by_size") {
        let (idle, load) = (number(&row, "idle_bytes"), number(&row, "load_bytes"));
        assert!(idle > 0.0 && load > idle, "{row}");
        // The value alone takes 64.
        assert!(number(&row, "a_save") > 64.0, "{row}");
    }
}

#[test]
fn the_longer_the_network_is_split_the_later_change_sets_come() {
    let figures = found(Experiment::Late);
    let rows = rows(&figures, "lateness");
    assert!(number(&rows[5], "newer_max") > number(&rows[2], "newer_max"));
    assert!(number(&rows[5], "late") > number(&rows[0], "late"));
    let oldest = number(&rows[5], "older_max");
    assert!(
        (50.0..110.0).contains(&oldest),
        "{oldest} s after a split of 100 s"
    );
}

#[test]
fn merging_loses_less_than_letting_the_newest_node_win_and_tells_of_it() {
    let figures = found(Experiment::Policy);
    let rows = rows(&figures, "by_time_apart");
    assert_eq!(rows.len(), 15);
    for row in &rows {
        let (node, merged) = (number(row, "lost_by_node"), number(row, "lost_by_property"));
        assert!(merged <= node, "{row}");
        assert!(merged == 0.0 || number(row, "told") == 100.0, "{row}");
    }
    let hot = rows.last().unwrap();
    assert!(number(hot, "lost_by_node") > 0.0, "{hot}");
}

#[test]
fn the_same_terms_give_the_same_page_and_others_another() {
    let of = |terms: &Terms| {
        let found = carry_out(
            &[Experiment::Spread, Experiment::Traffic],
            terms,
            &mut |_| {},
        );
        page(terms, &found.unwrap()).html()
    };
    let terms = Terms {
        replicas: vec![3],
        ..terms()
    };
    assert_eq!(of(&terms), of(&terms));
    let other = Terms {
        seed: 6,
        ..terms.clone()
    };
    let (page, other) = (of(&terms), of(&other));
    assert_ne!(page.replace("seed 5", ""), other.replace("seed 6", ""));
}

#[test]
fn names_lead_back_to_experiments() {
    for experiment in Experiment::ALL {
        assert_eq!(experiment.name().parse(), Ok(experiment));
    }
    assert!("speed".parse::<Experiment>().is_err());
}

#[test]
fn one_size_is_chosen_among_those_that_are_asked_for() {
    let terms = Terms {
        replicas: vec![3, 10, 50, 200],
        ..terms()
    };
    assert_eq!((terms.size_to(MIDDLING), terms.size_to(FEW)), (50, 10));
    let large = Terms {
        replicas: vec![200, 100],
        ..terms
    };
    assert_eq!(large.size_to(FEW), 100);
}

#[test]
fn the_first_nineteen_replicas_are_in_regions_of_their_own() {
    let Geography::World(regions) = Place::World.geography(19) else {
        panic!("the world is the world");
    };
    let different: std::collections::BTreeSet<_> = regions.iter().collect();
    assert_eq!(different.len(), 19);
}
