//! Case files: saves by authors in a line-by-line notation, and what they must lead to.
//!
//! A case stands by itself and is read the same whoever runs it. Reading gives the change sets
//! that the saves would make on their authors' replicas; [`Case::check`] and its parts compare a
//! result, this crate's or another's, with what the file expects.

pub(crate) mod author;
mod expect;
mod minimise;
mod order_key;
mod refusal;
mod text;
mod transcribe;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::Deserialize;

use crate::change::{ChangeSet, Origin, SetId};
use crate::fold::{Fold, fold};
use author::Desk;

pub use expect::{Expect, Mismatch};
pub use minimise::minimise;
pub use order_key::key_between;
pub use refusal::Refusal;

/// A case that has been read.
#[derive(Clone, PartialEq, Debug)]
pub struct Case {
    /// Where it comes from; for messages.
    pub file: String,
    /// What it shows, in a few words.
    pub title: String,
    /// The saves as they stand in the file, `base` first.
    pub saves: Vec<Save>,
    /// What each save came to, in the order of their ids, `base` first.
    pub change_sets: Vec<ChangeSet>,
    /// What must come out.
    pub expect: Expect,
}

/// A save as a case file has it: words, nothing resolved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Save {
    /// Its id.
    pub id: SetId,
    /// What its author had seen, besides `base` and the author's own earlier saves.
    pub saw: Vec<SetId>,
    /// Whether it is all-or-nothing.
    pub all_or_nothing: bool,
    /// Its operations, one a line.
    pub ops: String,
}

/// Why a file is no case. Nothing of it is read then.
#[derive(Debug)]
#[non_exhaustive]
pub enum CaseError {
    /// The file cannot be read.
    Io {
        /// The file.
        file: String,
        /// Why not.
        source: std::io::Error,
    },
    /// It is no TOML, or not of the shape that cases have.
    Toml {
        /// The file.
        file: String,
        /// What is wrong, with its place.
        source: Box<toml::de::Error>,
    },
    /// A save is wrong as a whole.
    Save {
        /// The file.
        file: String,
        /// The save, `AUTHOR@TIME`.
        save: String,
        /// What is wrong with it.
        what: String,
    },
    /// An operation would be refused to its author, who would have written nothing (M3).
    Line {
        /// The file.
        file: String,
        /// The save, `AUTHOR@TIME`.
        save: String,
        /// The line of `ops`, from 1.
        line: usize,
        /// The line itself.
        text: String,
        /// Why it is refused.
        refusal: Refusal,
    },
    /// What is expected makes no sense.
    Expect {
        /// The file.
        file: String,
        /// What is wrong with it.
        what: String,
    },
}

impl fmt::Display for CaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CaseError::Io { file, source } => write!(f, "{file}: {source}"),
            CaseError::Toml { file, source } => write!(f, "{file}: {source}"),
            CaseError::Save { file, save, what } => write!(f, "{file}: save {save}: {what}"),
            CaseError::Line {
                file,
                save,
                line,
                text,
                refusal,
            } => {
                write!(f, "{file}: save {save}, line {line} `{text}`: {refusal}")
            }
            CaseError::Expect { file, what } => write!(f, "{file}: expect: {what}"),
        }
    }
}

impl std::error::Error for CaseError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CaseError::Io { source, .. } => Some(source),
            CaseError::Toml { source, .. } => Some(source),
            CaseError::Line { refusal, .. } => Some(refusal),
            CaseError::Save { .. } | CaseError::Expect { .. } => None,
        }
    }
}

/// The shape of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    title: String,
    #[serde(default)]
    base: String,
    #[serde(default)]
    save: Vec<SaveTable>,
    expect: ExpectTable,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SaveTable {
    by: String,
    at: u64,
    #[serde(default)]
    saw: Vec<String>,
    #[serde(default)]
    all_or_nothing: bool,
    ops: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectTable {
    tree: String,
    conflicts: Vec<String>,
    #[serde(default)]
    order: BTreeMap<String, Vec<String>>,
}

impl Case {
    /// Reads a case file.
    ///
    /// # Errors
    ///
    /// [`CaseError`], which names the file and, where one is to blame, the save and the line.
    pub fn read(path: impl AsRef<Path>) -> Result<Case, CaseError> {
        let file = path.as_ref().display().to_string();
        match std::fs::read_to_string(&path) {
            Ok(text) => Case::parse(&file, &text),
            Err(source) => Err(CaseError::Io { file, source }),
        }
    }

    /// Reads a case from text; `file` is what messages call it.
    ///
    /// # Errors
    ///
    /// As [`Case::read`].
    pub fn parse(file: &str, text: &str) -> Result<Case, CaseError> {
        let file = file.to_owned();
        let read: CaseFile = match toml::from_str(text) {
            Ok(read) => read,
            Err(source) => {
                return Err(CaseError::Toml {
                    file,
                    source: Box::new(source),
                });
            }
        };
        let base = Save {
            id: SetId {
                time: 0,
                origin: Origin::BASE,
            },
            saw: Vec::new(),
            all_or_nothing: false,
            ops: read.base,
        };
        let mut saves = vec![base];
        for table in read.save {
            let named = format!("{}@{}", table.by, table.at);
            let save = Save::read(table);
            saves.push(save.map_err(|what| CaseError::Save {
                file: file.clone(),
                save: named,
                what,
            })?);
        }
        let change_sets = write_all(&file, &saves)?;
        let expect = Expect::read(&read.expect.tree, read.expect.conflicts, read.expect.order);
        let expect = expect.map_err(|what| CaseError::Expect {
            file: file.clone(),
            what,
        })?;
        Ok(Case {
            file,
            title: read.title,
            saves,
            change_sets,
            expect,
        })
    }

    /// Whether some save of the case is all-or-nothing, for a runner whose engine is not yet.
    #[must_use]
    pub fn needs_all_or_nothing(&self) -> bool {
        self.saves.iter().any(|save| save.all_or_nothing)
    }
}

impl Save {
    fn read(table: SaveTable) -> Result<Save, String> {
        let origin = Origin::from_word(&table.by).filter(|origin| *origin != Origin::BASE);
        let origin = origin.ok_or("an author is a word of at most 16 bytes, and not `base`")?;
        let saw = table
            .saw
            .iter()
            .map(|named| read_id(named).ok_or(format!("`{named}` in `saw` is not AUTHOR@TIME")));
        Ok(Save {
            id: SetId {
                time: table.at,
                origin,
            },
            saw: saw.collect::<Result<_, _>>()?,
            all_or_nothing: table.all_or_nothing,
            ops: table.ops,
        })
    }
}

/// Reads `AUTHOR@TIME`.
fn read_id(text: &str) -> Option<SetId> {
    let (word, time) = text.split_once('@')?;
    Some(SetId {
        time: time.parse().ok()?,
        origin: Origin::from_word(word)?,
    })
}

/// M2: of what was seen, that which nothing else that was seen had seen; and in any case the
/// author's own last one.
pub(crate) fn frontier(
    seen: &BTreeSet<SetId>,
    histories: &BTreeMap<SetId, BTreeSet<SetId>>,
    last_own: Option<SetId>,
) -> Vec<SetId> {
    let mut newest = Vec::new();
    let mut covered: BTreeSet<SetId> = BTreeSet::new();
    // The newest first: whoever had seen it comes before.
    for id in seen.iter().rev() {
        if !covered.contains(id) {
            covered.extend(&histories[id]);
            newest.push(*id);
        } else if Some(*id) == last_own {
            newest.push(*id);
        }
    }
    newest.sort_unstable();
    newest
}

/// What a save comes to: `set`, which has no operations yet, with those that its author writes in
/// the lines of `ops`, having seen what is in `view`.
///
/// # Errors
///
/// [`Refusal`], of the first line that the author's own view forbids (M3).
pub fn write(view: &Fold, set: ChangeSet, ops: &str) -> Result<ChangeSet, Refusal> {
    let mut desk = Desk::new(view.clone(), set);
    ops.lines().try_for_each(|line| desk.write(line))?;
    Ok(desk.finish().0)
}

/// Has every author write his saves, in the order of the ids. Since an id is greater than all
/// that its author had seen (M2), what a save needs is there when its turn comes.
pub(crate) fn write_all(file: &str, saves: &[Save]) -> Result<Vec<ChangeSet>, CaseError> {
    let mut in_order: Vec<&Save> = saves.iter().collect();
    in_order.sort_by_key(|save| save.id);

    let mut written: BTreeMap<SetId, ChangeSet> = BTreeMap::new();
    let mut histories: BTreeMap<SetId, BTreeSet<SetId>> = BTreeMap::new();
    for save in in_order {
        let wrong = |what: String| CaseError::Save {
            file: file.to_owned(),
            save: save.id.to_string(),
            what,
        };
        if written.contains_key(&save.id) {
            return Err(wrong("there are two of this author and time".to_owned()));
        }
        // M2: `base`, the author's own earlier saves, and `saw`, with all that those had seen.
        let own: Vec<SetId> = written
            .keys()
            .copied()
            .filter(|id| id.origin == save.id.origin)
            .collect();
        let base = written.keys().next().copied();
        let mut seen = BTreeSet::new();
        for named in save.saw.iter().chain(&own).chain(&base) {
            let Some(history) = histories.get(named) else {
                let what = if saves.iter().any(|other| other.id == *named) {
                    "an id is greater than that of everything seen"
                } else {
                    "there is no such save"
                };
                return Err(wrong(format!("it saw {named}: {what}")));
            };
            seen.insert(*named);
            seen.extend(history);
        }
        let last_own = own.last().copied();
        let dependencies = frontier(&seen, &histories, last_own)
            .into_iter()
            .map(|id| (id.origin, written[&id].sequence))
            .collect();
        let draft = ChangeSet {
            id: save.id,
            sequence: own.len() as u64 + 1,
            dependencies,
            all_or_nothing: save.all_or_nothing,
            operations: Vec::new(),
        };
        let past: Vec<ChangeSet> = seen.iter().map(|id| written[id].clone()).collect();
        let mut desk = Desk::new(fold(&past), draft);
        for (line, text) in save.ops.lines().enumerate() {
            desk.write(text).map_err(|refusal| CaseError::Line {
                file: file.to_owned(),
                save: save.id.to_string(),
                line: line + 1,
                text: text.trim().to_owned(),
                refusal,
            })?;
        }
        written.insert(save.id, desk.finish().0);
        histories.insert(save.id, seen);
    }
    Ok(written.into_values().collect())
}
