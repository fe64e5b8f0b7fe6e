//! What is kept of a run that failed: a smaller one that fails too, as a seed line, and a case if
//! merging alone is at fault.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use merge_spec::Case;

use crate::cases::least;
use crate::check::history;
use crate::engine::to_spec;
use crate::plan::Options;
use crate::run::{Verdict, run_and_look};
use crate::seeds::SeedLine;
use crate::shrink::shrink;
use crate::sweep::Runner;

/// See the top of the file.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The run.
    pub line: SeedLine,
    /// How it ends.
    pub verdict: Verdict,
    /// What merging alone goes wrong at, if it does.
    pub case: Option<Case>,
}

impl Finding {
    /// Shrinks a run that ended with this verdict, and looks whether merging alone is at fault.
    pub fn of(options: &Options, verdict: &Verdict, runner: Runner) -> Self {
        let (options, verdict) = shrink(options, verdict, runner);
        let case = match verdict {
            Verdict::Wrong(_) => runner.within(|| case(&options)),
            // A panic leaves no world to look at; who is late has not come to a wrong state.
            _ => None,
        };
        Self {
            line: SeedLine(options),
            verdict,
            case,
        }
    }

    /// Adds the seed line to `seeds.txt` in a folder, which is made, and writes the case as a file
    /// of its own beside it. The case's path, if there is one.
    ///
    /// # Errors
    /// If something can not be written.
    pub fn write(&self, folder: &Path) -> io::Result<Option<PathBuf>> {
        fs::create_dir_all(folder)?;
        let mut seeds = File::options()
            .append(true)
            .create(true)
            .open(folder.join("seeds.txt"))?;
        writeln!(seeds, "{self}")?;
        let Some(case) = &self.case else {
            return Ok(None);
        };
        let path = folder.join(&case.file);
        let from = format!("# From a simulated run: leveret-sim run {self}\n");
        fs::write(&path, from + &case.to_toml())?;
        Ok(Some(path))
    }
}

/// As a line of a file of seeds.
impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A reason may be a panic's, of several lines.
        let reason: Vec<_> = self.verdict.reason().split_whitespace().collect();
        write!(f, "{}  # {}", self.line, reason.join(" "))
    }
}

/// Plays a run again, and makes a case of what its machines have merged.
fn case(options: &Options) -> Option<Case> {
    let (_, histories) = run_and_look(options, |end| {
        let mut machines = end.world.running();
        machines.retain(|machine| !end.ahead.contains(machine));
        let histories = machines
            .into_iter()
            .filter_map(|m| history(end.world.replica(m)));
        let histories = histories.map(|sets| sets.iter().map(|set| to_spec(set)).collect());
        let mut histories: Vec<Vec<merge_spec::ChangeSet>> = histories.collect();
        histories.dedup();
        histories
    });
    let file = format!("seed-{}.toml", options.seed);
    let title = format!("what seed {} of the simulator goes wrong at", options.seed);
    let mut histories = histories.unwrap_or_default().into_iter();
    histories.find_map(|history| least(&file, &title, &history))
}
