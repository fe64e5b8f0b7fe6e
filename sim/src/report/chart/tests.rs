//! Charts of all sorts of numbers, read again.

use super::*;
use crate::report::markup::{attributes, check, check_inside};

fn line_chart(series: &[&[(f64, f64)]], scale: Scale) -> Chart {
    let axis = |label, unit| Axis {
        scale,
        ..Axis::new(label, unit)
    };
    let series = series.iter().enumerate().map(|(number, points)| Series {
        name: format!("series {number}"),
        points: points.to_vec(),
    });
    Chart::Lines(LineChart {
        title: "How long it takes".to_owned(),
        x: axis("replicas", Unit::Count),
        y: axis("time until all have it", Unit::Seconds),
        series: series.collect(),
    })
}

fn bar_chart(groups: &[&str], series: &[&[f64]]) -> Chart {
    let series = series.iter().enumerate().map(|(number, values)| Bars {
        name: format!("series {number}"),
        values: values.to_vec(),
    });
    Chart::Bars(BarChart {
        title: "What is lost".to_owned(),
        groups_label: "replicas".to_owned(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        label: "lost writes".to_owned(),
        unit: Unit::Percent,
        series: series.collect(),
    })
}

/// How many elements have a class as their first.
fn count(svg: &str, class: &str) -> usize {
    let classes = attributes(svg, "class").into_iter();
    classes
        .filter(|other| other.split(' ').next() == Some(class))
        .count()
}

#[test]
fn every_point_is_marked_and_every_series_has_a_line_and_a_name() {
    let chart = line_chart(
        &[
            &[(3.0, 0.1), (10.0, 0.2), (200.0, 0.9)],
            &[(3.0, 0.4), (10.0, 0.3)],
        ],
        Scale::Logarithmic,
    );
    let svg = chart.svg();
    check(&svg);
    check_inside(&svg);
    // The legend has a line and a mark for each series too.
    assert_eq!(count(&svg, "mark"), 5 + 2);
    assert_eq!(count(&svg, "line"), 2 + 2);
    for text in [
        "<title>How long it takes</title>",
        "series 1",
        "time until all have it",
    ] {
        assert!(svg.contains(text), "{text}");
    }
    assert!(svg.contains("<title>series 0: 200, 900 ms</title>"));
    assert!(!svg.contains("<script"));
}

#[test]
fn no_number_breaks_a_chart_or_is_drawn_outside() {
    let numbers = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        1e-300,
        1e-15,
        1e-9,
        1e9,
        1e15,
        1e16,
        1e300,
        -1e15,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
    ];
    for scale in [Scale::Linear, Scale::Logarithmic] {
        for a in numbers {
            for b in numbers {
                let svg = line_chart(&[&[(a, b), (b, a)], &[(a, a)]], scale).svg();
                check(&svg);
                check_inside(&svg);
            }
        }
    }
    for a in numbers {
        for b in numbers {
            let svg = bar_chart(&["3", "10"], &[&[a, b], &[b]]).svg();
            check(&svg);
            check_inside(&svg);
        }
    }
}

#[test]
fn charts_of_nothing_say_so() {
    let none: &[&[(f64, f64)]] = &[];
    for chart in [
        line_chart(none, Scale::Linear),
        line_chart(&[&[], &[]], Scale::Logarithmic),
        bar_chart(&[], &[]),
        bar_chart(&[], &[&[1.0]]),
        bar_chart(&["3"], &[&[]]),
    ] {
        let svg = chart.svg();
        check(&svg);
        check_inside(&svg);
        assert!(svg.contains("nothing to show"), "{svg}");
    }
}

#[test]
fn a_single_point_is_a_mark_without_a_line() {
    for scale in [Scale::Linear, Scale::Logarithmic] {
        let svg = line_chart(&[&[(5.0, 2.0)]], scale).svg();
        check_inside(&svg);
        assert_eq!((count(&svg, "mark"), count(&svg, "line")), (2, 1));
    }
}

#[test]
fn what_an_axis_can_not_show_is_left_out_said_so_and_still_in_the_table() {
    let chart = line_chart(&[&[(1.0, 0.5), (2.0, 0.0), (3.0, 0.7)]], Scale::Logarithmic);
    let svg = chart.svg();
    check_inside(&svg);
    assert!(svg.contains("left out: 1 value that these axes can not show"));
    let lines = attributes(&svg, "d")
        .into_iter()
        .filter(|d| d.matches('M').count() == 2);
    assert_eq!(lines.count(), 1, "no line goes over the gap");
    assert_eq!(chart.table().rows[1], ["2", "0 s"]);
}

#[test]
fn names_and_labels_are_escaped_and_the_long_ones_cut() {
    let Chart::Lines(mut chart) = line_chart(&[&[(1.0, 1.0)]], Scale::Linear) else {
        unreachable!("it is one of lines")
    };
    let bad = "<script>alert(\"1\")</script> & \u{7}";
    chart.title = format!("{bad} {}", "long ".repeat(60));
    chart.x.label = bad.repeat(20);
    chart.y.label = bad.repeat(20);
    chart.series = vec![
        Series {
            name: bad.repeat(20),
            points: vec![(1.0, 1.0)],
        };
        14
    ];
    let chart = Chart::Lines(chart);
    check(&chart.svg());
    check_inside(&chart.svg());
    assert!(!chart.svg().contains("<script"));
    let groups = [bad, bad, bad, bad, bad, bad, bad, bad, bad, bad, bad];
    let bars = bar_chart(&groups, &[&[1.0; 11][..]; 9]).svg();
    check(&bars);
    check_inside(&bars);
}

#[test]
fn bars_stand_on_zero_and_grow_with_their_numbers() {
    let svg = bar_chart(&["3", "10"], &[&[20.0, 40.0], &[-10.0, 0.0]]).svg();
    check_inside(&svg);
    let bars: Vec<&str> = svg
        .lines()
        .filter(|line| line.contains("<title>series"))
        .collect();
    assert_eq!(bars.len(), 4);
    let ends: Vec<(f64, f64)> = bars
        .iter()
        .map(|bar| {
            let path = attributes(bar, "d")[0];
            let start = path.split([' ', 'h']).nth(1).and_then(|y| y.parse().ok());
            let end = path.split(['V', 'h']).nth(2).and_then(|y| y.parse().ok());
            (start.expect("a start"), end.expect("an end"))
        })
        .collect();
    let zero = ends[0].0;
    assert!(ends.iter().all(|(start, _)| *start == zero));
    let heights: Vec<f64> = ends.iter().map(|(start, end)| start - end).collect();
    assert!((heights[1] - 2.0 * heights[0]).abs() < 0.3, "{heights:?}");
    assert!(
        (heights[2] + heights[0] / 2.0).abs() < 0.3 && heights[3] == 0.0,
        "{heights:?}"
    );
}

#[test]
fn the_table_has_the_numbers_of_the_chart() {
    let table = line_chart(&[&[(10.0, 0.5), (3.0, 1.5)], &[(3.0, 2.0)]], Scale::Linear).table();
    assert_eq!(table.columns, ["replicas", "series 0", "series 1"]);
    assert_eq!(table.rows, [["3", "1.5 s", "2 s"], ["10", "500 ms", ""]]);
    let table = bar_chart(&["3", "10"], &[&[12.5, 40.0], &[1.0]]).table();
    assert_eq!(table.columns, ["replicas", "series 0", "series 1"]);
    assert_eq!(table.rows, [["3", "12.5 %", "1 %"], ["10", "40 %", ""]]);
}

#[test]
fn a_chart_alone_brings_its_style_and_one_in_a_page_does_not() {
    let chart = bar_chart(&["3"], &[&[1.0]]);
    assert!(chart.svg().contains("prefers-color-scheme: dark"));
    assert!(!chart.svg_in_page().contains("<style>"));
    assert_eq!(chart.svg(), chart.svg());
}
