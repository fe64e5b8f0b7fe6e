//! How the commands print what came from elsewhere: no control characters reach a terminal.

use serde_json::Value;

/// The text with control characters replaced, so that a name or message of another replica can not
/// steer the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// The member of a JSON object as people read it: texts without quotes, nothing as `-`.
pub(crate) fn member(object: &Value, name: &str) -> String {
    shown(&object[name])
}

/// A JSON value as people read it: texts without quotes, nothing as `-`.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => printable(text),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        other => other.to_string(),
    }
}

/// The first 8 digits of an id, enough to tell one from another.
pub(crate) fn short(id: &str) -> String {
    printable(id).chars().take(8).collect()
}

/// Who made a change set: a name, or the first digits of a key.
pub(crate) fn author(set: &Value) -> String {
    match set["author_name"].as_str() {
        Some(name) if !name.is_empty() => printable(name),
        _ => short(set["author"].as_str().unwrap_or("-")),
    }
}

/// The parameter that names a node: its path, or its id.
pub(crate) fn node_key(node: &str) -> &'static str {
    if node.starts_with('/') { "path" } else { "id" }
}

/// At most so many characters of a text, with an ellipsis where it was cut.
pub(crate) fn clipped(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let mut clipped: String = text.chars().take(max.saturating_sub(1)).collect();
    clipped.push('…');
    clipped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a\u{fffd}[2Jb\u{fffd}c");
        assert_eq!(clipped("abcdef", 4), "abc…");
        assert_eq!(clipped("abcd", 4), "abcd");
    }
}
