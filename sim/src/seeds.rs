//! Seed lines: a run in one line, as `sim/seeds.txt` keeps them.
//!
//! A line is the arguments of `leveret-sim run`. What follows a `#` is for people.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::str::FromStr;

use crate::plan::{Kind, Options, Profile};
use crate::world::DiskKind;

/// A run, to be written as a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedLine(pub Options);

/// Every seed that ever failed: CI runs them all.
pub const KEPT: &str = include_str!("../seeds.txt");

impl fmt::Display for SeedLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.0;
        let mut line = format!("--seed {}", options.seed);
        let mut say = |name: &str, value: Option<String>| match value {
            Some(value) => write!(line, " --{name} {value}"),
            None => Ok(()),
        };
        let kinds = |kinds: &BTreeSet<Kind>| {
            let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
            (!names.is_empty()).then(|| names.join(","))
        };
        let unusual = options.profile != Profile::default();
        say("profile", unusual.then(|| options.profile.to_string()))?;
        say("replicas", options.replicas.map(|n| n.to_string()))?;
        say("saves", options.saves.map(|n| n.to_string()))?;
        say("seconds", options.seconds.map(|n| n.to_string()))?;
        let on_disk = options.disk != DiskKind::default();
        say("disk", on_disk.then(|| options.disk.to_string()))?;
        say("with", kinds(&options.with))?;
        say("without", kinds(&options.without))?;
        f.write_str(&line)
    }
}

impl FromStr for SeedLine {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let mut options = Options::new(0);
        let mut seed = None;
        let mut words = line.split('#').next().unwrap_or("").split_whitespace();
        while let Some(name) = words.next() {
            let value = words
                .next()
                .ok_or_else(|| format!("{name} lacks a value"))?;
            let number = || {
                value
                    .parse()
                    .map_err(|_| format!("{value} is not a number"))
            };
            let kinds = || {
                value
                    .split(',')
                    .map(str::parse)
                    .collect::<Result<_, String>>()
            };
            match name {
                "--seed" => seed = Some(number()?),
                "--profile" => options.profile = value.parse()?,
                "--replicas" => options.replicas = Some(number()? as usize),
                "--saves" => options.saves = Some(number()? as usize),
                "--seconds" => options.seconds = Some(number()?),
                "--disk" => options.disk = value.parse()?,
                "--with" => options.with = kinds()?,
                "--without" => options.without = kinds()?,
                other => return Err(format!("{other} is no option of a run")),
            }
        }
        options.seed = seed.ok_or("a line needs a seed")?;
        Ok(Self(options))
    }
}

/// The runs of a file of seed lines, with the number of each line.
///
/// # Errors
/// The first line that is none.
pub fn parse(text: &str) -> Result<Vec<(usize, SeedLine)>, String> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.split('#').next().unwrap_or("").trim().is_empty())
        .map(|(i, line)| {
            let parsed = line.parse();
            parsed
                .map(|seed| (i + 1, seed))
                .map_err(|error: String| format!("line {}: {error}", i + 1))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_a_run_and_is_read_as_the_same() {
        let mut options = Options::new(17);
        options.replicas = Some(3);
        options.saves = Some(40);
        options.seconds = Some(12);
        options.profile = Profile::Storm;
        options.with.insert(Kind::Crash);
        options.without.extend([Kind::Clone, Kind::Loss]);
        let line = SeedLine(options).to_string();
        let text = "--seed 17 --profile storm --replicas 3 --saves 40 --seconds 12 --with crash \
                    --without loss,clone";
        assert_eq!(line, text);
        let read: SeedLine = format!("{line}  # why").parse().unwrap();
        assert_eq!(read.to_string(), line);
    }

    #[test]
    fn what_is_no_line_is_refused_with_its_number() {
        assert_eq!(parse("# nothing\n\n--seed 1\n").unwrap().len(), 1);
        let wrong = parse("--seed 1\n--seeds 2\n").unwrap_err();
        assert!(wrong.starts_with("line 2: "), "{wrong}");
        assert!(parse("--saves 3").is_err());
        assert!(parse("--seed 1 --with nonsense").is_err());
    }

    #[test]
    fn the_kept_seeds_are_lines() {
        parse(KEPT).unwrap();
    }
}
