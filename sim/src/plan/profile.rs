//! Profiles: what kind of runs are drawn.

use std::fmt;
use std::str::FromStr;

/// A kind of run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Profile {
    /// Everything can happen; each run has some of the faults, drawn from its seed.
    #[default]
    Default,
    /// Nothing goes wrong: for measuring.
    Calm,
    /// Every kind of fault and of load at once.
    Storm,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Default, Self::Calm, Self::Storm];

    /// What it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Calm => "calm",
            Self::Storm => "storm",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|profile| profile.name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("no profile is called {text}; there are {names}")
        })
    }
}
