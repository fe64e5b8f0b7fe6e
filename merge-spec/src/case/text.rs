//! Writing a case as the text that it can be read from again.

use crate::case::{Case, Expect};
use crate::fold::Fold;

impl Expect {
    /// What a fold looks like, as expectations: the tree, the open conflicts, and the children of
    /// each node that has some.
    #[must_use]
    pub fn of(fold: &Fold) -> Expect {
        let mut order = std::collections::BTreeMap::new();
        let mut paths = vec![(crate::NodeId::ROOT, String::new())];
        while let Some((node, path)) = paths.pop() {
            let children = fold.children(node);
            if children.is_empty() {
                continue;
            }
            let shown = |child: &crate::Child| child.shown.clone();
            let at = if path.is_empty() { "/" } else { &path };
            order.insert(at.to_owned(), children.iter().map(shown).collect());
            for child in children {
                paths.push((child.node, format!("{path}/{}", child.shown)));
            }
        }
        Expect {
            tree: fold.tree(),
            conflicts: fold.conflict_pairs(),
            order,
        }
    }
}

impl Case {
    /// Writes the case in the format that [`Case::parse`] reads: the same change sets come of it.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = format!("title = {}\n", quoted(&self.title));
        for save in &self.saves {
            let by = save.id.origin.to_string();
            if by == "base" {
                text += &format!("base = {}\n", quoted_lines(&save.ops));
                continue;
            }
            let (by, at) = (quoted(&by), save.id.time);
            text += &format!("\n[[save]]\nby = {by}\nat = {at}\n");
            if !save.saw.is_empty() {
                text += &format!("saw = {}\n", list(save.saw.iter()));
            }
            if save.all_or_nothing {
                text += "all_or_nothing = true\n";
            }
            text += &format!("ops = {}\n", quoted_lines(&save.ops));
        }
        let tree = quoted_lines(&self.expect.tree.to_string());
        let conflicts = list(self.expect.conflicts.iter());
        text += &format!("\n[expect]\ntree = {tree}\nconflicts = {conflicts}\n");
        if !self.expect.order.is_empty() {
            text += "\n[expect.order]\n";
        }
        for (path, children) in &self.expect.order {
            text += &format!("{} = {}\n", quoted(path), list(children.iter()));
        }
        text
    }
}

fn list(items: impl Iterator<Item = impl ToString>) -> String {
    let items: Vec<String> = items.map(|item| quoted(&item.to_string())).collect();
    format!("[{}]", items.join(", "))
}

/// A string on one line.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A string with every line as it is, where TOML can write that.
fn quoted_lines(text: &str) -> String {
    let odd = |c: char| c.is_control() && c != '\n';
    if text.is_empty() || text.contains("''") || text.contains(odd) || text.ends_with('\'') {
        return quoted(text);
    }
    let first = if text.contains('\n') { "\n" } else { "" };
    format!("'''{first}{text}'''")
}
