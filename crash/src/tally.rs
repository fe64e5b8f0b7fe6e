//! What many trials came to, for people.

use std::collections::BTreeMap;

use crate::judge::Verdict;

/// See the top of the file.
#[derive(Default)]
pub(crate) struct Tally {
    trials: u64,
    kept: u64,
    told: u64,
    refused: u64,
    missing: u64,
    /// What was said when something was lost or refused, and how often.
    reasons: BTreeMap<String, u64>,
}

impl Tally {
    /// Counts a trial.
    pub(crate) fn count(&mut self, verdict: &Verdict) {
        self.trials += 1;
        match verdict {
            Verdict::Kept => self.kept += 1,
            Verdict::Told { missing, alarm } => {
                self.told += 1;
                self.missing += *missing as u64;
                *self.reasons.entry(shape(alarm)).or_default() += 1;
            }
            Verdict::Refused(why) => {
                self.refused += 1;
                *self.reasons.entry(shape(why)).or_default() += 1;
            }
        }
    }

    /// Whether nothing was counted.
    pub(crate) fn is_empty(&self) -> bool {
        self.trials == 0
    }

    /// Prints it.
    pub(crate) fn print(&self, what: &str) {
        println!(
            "{what}: {} trials; everything acknowledged was there in {}; {} lost {} acknowledged \
             saves and said so; {} did not open and said why",
            self.trials, self.kept, self.told, self.missing, self.refused
        );
        for (reason, times) in &self.reasons {
            println!("  {times} times: {reason}");
        }
    }
}

/// A text without what differs from trial to trial: digits, and the places of directories.
fn shape(text: &str) -> String {
    let mut shape = String::new();
    for word in text.split(' ') {
        if !shape.is_empty() {
            shape.push(' ');
        }
        let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        if word.contains("/.tmp") || word.contains("/tmp") {
            let name = word.rsplit('/').next().unwrap_or_default();
            shape.push_str(&format!("…/{name}"));
        } else if !bare.is_empty()
            && bare.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
            && bare.chars().any(|c| c.is_ascii_digit())
        {
            shape.push_str(&word.replace(bare, "N"));
        } else {
            shape.push_str(word);
        }
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_trial_to_trial_is_left_out_of_reasons() {
        let shaped = shape("saves 3 to 5 of origin 00ff of /tmp/.tmpX1/store, twice");
        assert_eq!(shaped, "saves N to N of origin N of …/store, twice");
    }
}
