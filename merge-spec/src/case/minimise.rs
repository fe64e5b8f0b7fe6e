//! Making a case smaller that shows a mistake, down to single lines.
//!
//! Dropping steps of a script leaves the plots of its contests whole. Here saves and lines are
//! dropped from what came of them, and lines that make no sense any more go with them.

use crate::case::{Case, CaseError, Expect, Save, write_all};
use crate::change::{Origin, SetId};
use crate::fold::fold;

/// Finds a case that still `fails`, none of whose saves and lines can be left out.
///
/// The case given fails. What others expect of the result is what the model says.
/// Many saves at a time are tried first, and then fewer, so that a long history does not take long.
#[must_use]
pub fn minimise(case: &Case, mut fails: impl FnMut(&Case) -> bool) -> Case {
    let mut least = case.clone();
    let mut width = least.saves.len() / 2;
    while width > 1 {
        let mut at = usize::MAX;
        while let Some((position, saves)) = without_saves(&least.saves, at, width) {
            at = position;
            if let Some(smaller) = written(&least, saves).filter(|smaller| fails(smaller)) {
                least = smaller;
            }
        }
        width /= 2;
    }
    loop {
        let before = size(&least);
        for attempt in [without_save, without_line, without_mark] {
            // From the end, since what comes later is built on what was before.
            let mut at = usize::MAX;
            while let Some((position, saves)) = attempt(&least.saves, at) {
                at = position;
                if let Some(smaller) = written(&least, saves).filter(|smaller| fails(smaller)) {
                    least = smaller;
                }
            }
        }
        if size(&least) == before {
            return least;
        }
    }
}

fn size(case: &Case) -> (usize, usize, usize) {
    let lines = case.saves.iter().map(|save| save.ops.lines().count()).sum();
    let marked = case.saves.iter().filter(|save| save.all_or_nothing).count();
    (case.saves.len(), lines, marked)
}

/// The saves without the last one before position `at`, and that position.
fn without_save(saves: &[Save], at: usize) -> Option<(usize, Vec<Save>)> {
    let position = saves.len().min(at).checked_sub(1)?;
    (position > 0).then(|| (position, dropped(saves, saves[position].id)))
}

/// The saves without the last so many before position `at`, and the position of the first of them.
fn without_saves(saves: &[Save], at: usize, width: usize) -> Option<(usize, Vec<Save>)> {
    let end = saves.len().min(at);
    let position = end.saturating_sub(width).max(1);
    let gone = saves.get(position..end).filter(|gone| !gone.is_empty())?;
    let left = gone.iter().rev();
    let left = left.fold(saves.to_vec(), |left, save| dropped(&left, save.id));
    Some((position, left))
}

/// The saves without the last line before the `at`th of all lines, and its number.
fn without_line(saves: &[Save], at: usize) -> Option<(usize, Vec<Save>)> {
    let total: usize = saves.iter().map(|save| save.ops.lines().count()).sum();
    let number = total.min(at).checked_sub(1)?;
    let (mut saves, mut left) = (saves.to_vec(), number);
    for save in &mut saves {
        let lines = save.ops.lines().count();
        if left < lines {
            save.ops = without(&save.ops, left);
            break;
        }
        left -= lines;
    }
    Some((number, saves))
}

/// The saves with the last all-or-nothing one before position `at` an ordinary one.
fn without_mark(saves: &[Save], at: usize) -> Option<(usize, Vec<Save>)> {
    let position = saves[..saves.len().min(at)]
        .iter()
        .rposition(|save| save.all_or_nothing)?;
    let mut saves = saves.to_vec();
    saves[position].all_or_nothing = false;
    Some((position, saves))
}

fn without(ops: &str, line: usize) -> String {
    let kept = ops.lines().enumerate().filter(|(at, _)| *at != line);
    kept.map(|(_, text)| format!("{text}\n")).collect()
}

/// The saves without one of them; who saw it saw instead what its author had seen.
fn dropped(saves: &[Save], id: SetId) -> Vec<Save> {
    let own = saves.iter().map(|save| save.id);
    let earlier = own.filter(|other| other.origin == id.origin && *other < id);
    let mut instead: Vec<SetId> = earlier.max().into_iter().collect();
    let gone = saves.iter().filter(|save| save.id == id);
    instead.extend(gone.flat_map(|save| save.saw.clone()));
    let mut kept: Vec<Save> = saves.iter().filter(|save| save.id != id).cloned().collect();
    for save in &mut kept {
        let own_next = save.id.origin == id.origin && save.id > id;
        if save.saw.contains(&id) || own_next {
            save.saw.retain(|other| *other != id);
            save.saw.extend(&instead);
            save.saw.retain(|other| other.origin != save.id.origin);
            save.saw.retain(|other| other.origin != Origin::BASE);
            save.saw.sort_unstable();
            save.saw.dedup();
        }
    }
    kept
}

/// Has the authors write the saves, leaving out what they are refused and saves without lines.
fn written(case: &Case, mut saves: Vec<Save>) -> Option<Case> {
    loop {
        let empty = saves.iter().skip(1).find(|save| save.ops.is_empty());
        if let Some(id) = empty.map(|save| save.id) {
            saves = dropped(&saves, id);
            continue;
        }
        match write_all(&case.file, &saves) {
            Ok(change_sets) => {
                return Some(Case {
                    file: case.file.clone(),
                    title: case.title.clone(),
                    expect: Expect::of(&fold(&change_sets)),
                    saves,
                    change_sets,
                });
            }
            Err(CaseError::Line { save: id, line, .. }) => {
                let save = saves.iter_mut().find(|save| save.id.to_string() == id)?;
                save.ops = without(&save.ops, line - 1);
            }
            Err(_) => return None,
        }
    }
}
