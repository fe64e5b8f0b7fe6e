//! A reader of the little SVG and HTML that reports are made of, for their tests: whether tags and
//! quotes match, and where everything is drawn.

/// Checks that every tag is closed by its like, every attribute quoted, every `&` an entity.
///
/// # Panics
/// If not.
pub(super) fn check(text: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = text.strip_prefix("<!DOCTYPE html>\n").unwrap_or(text);
    while let Some(at) = rest.find('<') {
        check_text(&rest[..at]);
        let end = at + rest[at..].find('>').expect("a tag ends");
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "</{name}>");
            continue;
        }
        let (tag, is_closed) = match tag.strip_suffix('/') {
            Some(tag) => (tag, true),
            None => (tag, false),
        };
        let (name, mut attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        assert!(
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric()),
            "{tag}"
        );
        while !attributes.trim().is_empty() {
            let (key, after) = attributes.split_once("=\"").expect("a value in quotes");
            assert!(
                key.trim()
                    .bytes()
                    .all(|b| b.is_ascii_alphabetic() || b == b'-'),
                "{key}"
            );
            let (value, after) = after.split_once('"').expect("quotes end");
            assert!(!value.contains('<'));
            check_text(value);
            attributes = after;
        }
        if !is_closed {
            open.push(name);
        }
    }
    assert_eq!(rest.trim(), "", "after the last tag");
    assert!(open.is_empty(), "left open: {open:?}");
}

fn check_text(text: &str) {
    for part in text.split('&').skip(1) {
        let entity = part.split(';').next();
        let known = ["amp", "lt", "gt", "quot", "#39"];
        assert!(
            entity.is_some_and(|entity| known.contains(&entity)),
            "&{part}"
        );
    }
    let is_plain = |c: char| c == '\n' || c == '\t' || !c.is_control();
    assert!(text.chars().all(is_plain), "{text:?}");
}

/// The values of an attribute, wherever it is.
pub(super) fn attributes<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let start = format!(" {name}=\"");
    let values = text.split(&start).skip(1);
    values.filter_map(|after| after.split('"').next()).collect()
}

/// Checks that nothing of a chart, marks and text included, is drawn outside its card.
///
/// # Panics
/// If something is.
pub(super) fn check_inside(svg: &str) {
    let size = |name| attributes(svg, name)[0].parse::<f64>().expect("a size");
    let (width, height) = (size("width"), size("height"));
    let inside = |x: f64, y: f64, what: &str| {
        let fits = (0.0..=width).contains(&x) && (0.0..=height).contains(&y);
        assert!(fits, "({x}, {y}) is not in {width} x {height}: {what}");
    };
    for path in attributes(svg, "d") {
        for (x, y) in corners(path) {
            inside(x, y, path);
        }
    }
    for text in svg.split("<text ").skip(1) {
        let text = &format!(" {text}");
        let at = |name| attributes(text, name)[0].parse::<f64>().expect("a place");
        let (x, y) = (at("x"), at("y"));
        let said = text.split(['>', '<']).nth(1).unwrap_or_default();
        // Narrower than what is allowed for: fonts differ.
        let letters = said.split('&').map(|part| match part.split_once(';') {
            // What stands behind an entity, and the letter that the entity is.
            Some((_, after)) => after.chars().count() + 1,
            None => part.chars().count(),
        });
        let long = letters.sum::<usize>() as f64 * 6.2;
        let left = match attributes(text, "class")[0] {
            "small end" => x - long,
            "small middle" => x - long / 2.0,
            _ => x,
        };
        inside(left, y - 10.0, said);
        inside(left + long, y, said);
    }
}

/// The points that a path goes through.
fn corners(path: &str) -> Vec<(f64, f64)> {
    let (mut x, mut y) = (0.0, 0.0);
    let mut corners = Vec::new();
    let mut rest = path;
    while let Some(step) = rest.chars().next() {
        let end = rest[1..]
            .find(|c: char| c.is_ascii_alphabetic())
            .map_or(rest.len(), |at| at + 1);
        let numbers: Vec<f64> = rest[1..end]
            .split_whitespace()
            .map(|number| number.parse().expect("a number"))
            .collect();
        assert!(
            numbers.iter().all(|number: &f64| number.is_finite()),
            "{path}"
        );
        match step {
            'M' | 'L' => (x, y) = (numbers[0], numbers[1]),
            'H' => x = numbers[0],
            'V' => y = numbers[0],
            'h' => x += numbers[0],
            'v' => y += numbers[0],
            // The path has no spaces where a number is negative, but after an arc's flags.
            'a' => (x, y) = (x + numbers[5], y + numbers[6]),
            'z' => {}
            _ => panic!("{step} in {path}"),
        }
        corners.push((x, y));
        rest = &rest[end..];
    }
    corners
}
