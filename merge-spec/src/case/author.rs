//! An author at work: operation lines in, operations in terms of node ids out.
//!
//! Paths are resolved in the author's own view: the fold of what he has seen, with the lines he
//! has written so far in this save on top. What that view forbids is refused (M3).

use crate::case::order_key::key_between;
use crate::case::refusal::Refusal;
use crate::case::words::{Path, Words};
use crate::change::{ChangeSet, NodeId, Operation};
use crate::fold::Fold;
use crate::value::Value;
use crate::view::{Child, split_clashing};

/// One save being written.
pub(crate) struct Desk {
    /// What the author sees: all he had seen, and the lines so far.
    view: Fold,
    draft: ChangeSet,
}

impl Desk {
    /// Sits down to write `draft`, which has no operations yet, having seen what is in `view`.
    pub(crate) fn new(mut view: Fold, draft: ChangeSet) -> Desk {
        view.apply(&draft);
        Desk { view, draft }
    }

    /// What was written, and what its author sees now.
    pub(crate) fn finish(self) -> (ChangeSet, Fold) {
        (self.draft, self.view)
    }

    /// What has been written so far.
    pub(crate) fn draft(&self) -> &ChangeSet {
        &self.draft
    }

    /// What the author sees now.
    pub(crate) fn view(&self) -> &Fold {
        &self.view
    }

    /// Writes one line. Nothing is written if it is empty, begins with `#`, or is refused.
    pub(crate) fn write(&mut self, line: &str) -> Result<(), Refusal> {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            return Ok(());
        }
        let operations = self.read(line)?;
        if !self.view.continue_set(&self.draft, &operations) {
            return Err(Refusal::Voided);
        }
        self.draft.operations.extend(operations);
        Ok(())
    }

    fn read(&self, line: &str) -> Result<Vec<Operation>, Refusal> {
        let view = &self.view;
        let mut words = Words::new(line);
        let verb = words.next("an operation")?;
        if verb == "dismiss" {
            let operations = dismiss(view, &words.next("AUTHOR@TIME")?, &words.next("a kind")?)?;
            words.end()?;
            return Ok(operations);
        }
        let operation = match verb.as_str() {
            "add" => add(view, &words.path()?)?,
            "add_unique" => {
                let (parent, name) = free_place(view, &words.path()?)?;
                Operation::AddUnique { parent, name }
            }
            "remove" => Operation::Remove {
                node: below_root(view, &words.path()?)?,
            },
            "move" => move_or_rename(view, &words.path()?, &words.path()?)?,
            "set" => {
                let (node, property) = property(view, &mut words)?;
                let value = Value::parse(words.all("a value")?).map_err(Refusal::BadValue)?;
                Operation::Set {
                    node,
                    property,
                    value,
                }
            }
            "unset" => {
                let (node, property) = property(view, &mut words)?;
                Operation::Unset { node, property }
            }
            "inc" => {
                let (node, property) = property(view, &mut words)?;
                let amount = words.next("an amount")?;
                let delta = amount.parse().map_err(|_| Refusal::BadAmount(amount))?;
                Operation::Inc {
                    node,
                    property,
                    delta,
                }
            }
            "order" => self.order(view, &mut words)?,
            _ => return Err(Refusal::NoSuchOperation(verb)),
        };
        words.end()?;
        Ok(vec![operation])
    }

    /// M11: the author computes the key, from the effective keys of the neighbours in his view.
    fn order(&self, view: &Fold, words: &mut Words<'_>) -> Result<Operation, Refusal> {
        let path = words.path()?;
        let node = below_root(view, &path)?;
        let (above, _) = path.split_last()?;
        let mut siblings = view.children(existing(view, &above)?);
        siblings.retain(|child| child.node != node);

        let place = words.next("first, last, before or after")?;
        let at = match place.as_str() {
            "first" => 0,
            "last" => siblings.len(),
            "before" | "after" => {
                let mut beside = above.clone();
                beside.elements.push(words.next("a sibling")?);
                beside.text = format!("/{}", beside.elements.join("/"));
                let found = existing(view, &beside)?;
                let position = siblings.iter().position(|child| child.node == found);
                let position = position.ok_or(Refusal::NoSuchNode(beside.text))?;
                if place == "before" {
                    position
                } else {
                    position + 1
                }
            }
            _ => return Err(Refusal::NoSuchOperation(format!("order {place}"))),
        };
        let key_of = |child: &Child| child.effective_key.clone();
        let left = at
            .checked_sub(1)
            .and_then(|before| siblings.get(before))
            .map(key_of);
        let right = siblings.get(at).map(key_of);
        let [a, b, c, d, ..] = self.draft.id.origin.0;
        let key = key_between(left.as_deref(), right.as_deref(), [a, b, c, d]);
        Ok(Operation::Order {
            node,
            key: key.ok_or(Refusal::NoKeyFits)?,
        })
    }
}

/// M14: closes all that the author sees open of this set and kind.
fn dismiss(view: &Fold, set: &str, kind: &str) -> Result<Vec<Operation>, Refusal> {
    let pair = format!("{set} {kind}");
    let open = view.open_conflicts();
    let operations: Vec<Operation> = open
        .iter()
        .filter(|conflict| conflict.to_string() == pair)
        .map(|conflict| Operation::Dismiss {
            conflict: conflict.id(),
        })
        .collect();
    if operations.is_empty() {
        return Err(Refusal::NoSuchConflict(pair));
    }
    Ok(operations)
}

/// M3: *k* is the smallest number for which the author knows no node of that id, trash included.
fn add(view: &Fold, path: &Path) -> Result<Operation, Refusal> {
    let (parent, name) = free_place(view, path)?;
    let unknown = |k: &u32| {
        !view
            .nodes()
            .contains_key(&NodeId::of_add(parent, &name, *k))
    };
    let k = (0..)
        .find(unknown)
        .expect("a tree has fewer nodes than there are numbers");
    Ok(Operation::Add { parent, name, k })
}

/// M9: the author's own view decides between a move and a rename.
fn move_or_rename(view: &Fold, from: &Path, to: &Path) -> Result<Operation, Refusal> {
    let node = below_root(view, from)?;
    let (above, last) = to.split_last()?;
    let parent = existing(view, &above)?;
    if view.tree.at_or_below(parent, node) {
        return Err(Refusal::BelowItself);
    }
    // A last element that stays the same writes no name: the one in the old path or, should the
    // old path be `name~8hex`, the name itself.
    let stays = last == view.tree.name(node) || from.elements.last().is_some_and(|old| old == last);
    let name = if stays {
        view.tree.name(node)
    } else {
        checked_name(last)?
    };
    let mut others = view
        .children(parent)
        .into_iter()
        .filter(|child| child.node != node);
    let same_parent = view.tree.parent(node) == Some(parent);
    if same_parent && stays {
        return Err(Refusal::MovesNothing);
    }
    if others.any(|child| child.name == name) {
        return Err(Refusal::NameTaken(to.text.clone()));
    }
    Ok(if same_parent {
        Operation::Rename {
            node,
            name: name.to_owned(),
        }
    } else {
        Operation::Move {
            node,
            parent,
            name: (!stays).then(|| name.to_owned()),
        }
    })
}

fn property(view: &Fold, words: &mut Words<'_>) -> Result<(NodeId, String), Refusal> {
    let node = existing(view, &words.path()?)?;
    Ok((node, words.next("a property")?))
}

/// The parent and the name of a node that is to be added.
fn free_place(view: &Fold, path: &Path) -> Result<(NodeId, String), Refusal> {
    let (above, last) = path.split_last()?;
    let name = checked_name(last)?;
    let parent = existing(view, &above)?;
    if view.children(parent).iter().any(|child| child.name == name) {
        return Err(Refusal::NameTaken(path.text.clone()));
    }
    Ok((parent, name.to_owned()))
}

fn existing(view: &Fold, path: &Path) -> Result<NodeId, Refusal> {
    view.find(&path.elements)
        .ok_or_else(|| Refusal::NoSuchNode(path.text.clone()))
}

fn below_root(view: &Fold, path: &Path) -> Result<NodeId, Refusal> {
    match existing(view, path)? {
        NodeId::ROOT => Err(Refusal::Root),
        node => Ok(node),
    }
}

fn checked_name(name: &str) -> Result<&str, Refusal> {
    if name.is_empty() || name.len() > 255 {
        return Err(Refusal::BadName(name.to_owned()));
    }
    if split_clashing(name).is_some() {
        return Err(Refusal::ReservedName(name.to_owned()));
    }
    Ok(name)
}
