//! One run: the faults, and then the healing.
//!
//! In the first act, *safety*, everything that was planned happens, and the checkers watch. Then
//! the faults stop, and in the second, *healing*, everybody must come to the same state within a
//! stated time: a system that is only ever looked at while everything is broken can excuse any
//! state it is in.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::act::{Director, LEAD_MS_MAX, SETTLED};
use crate::check::{Checkers, End, Losses, has_converged};
use crate::plan::{Options, Plan};
use crate::world::{MachineClock, Micros, Tally, Trace, World};

/// Longest time that healing may take, and as much more as what was saved is ahead of time.
pub const HEALING_MAX: Micros = Micros::from_seconds(180);
/// Time between two looks at what must hold all the time.
const GLANCE: Micros = Micros::from_seconds(1);
/// The same where there are more than so many machines.
const GLANCE_AT_MANY: Micros = Micros::from_seconds(20);
const MANY: usize = 30;
/// Time between two looks whether everybody has come to the same state.
const LOOK: Micros = Micros::from_millis(500);
/// After so many looks, machines that are no members yet are given another token.
const STRANGERS: u32 = 10;
/// Time for which nothing may happen any more once they have.
const REST: Micros = Micros::from_seconds(3);

/// Words of a reason by which two are compared.
const FINDER_WORDS: usize = 5;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything held.
    Good,
    /// Something panicked: an assertion, or worse.
    Crash(String),
    /// The machines did not come to the same state in time.
    Stuck(String),
    /// They came to different states, or lost something, or something else did not hold.
    Wrong(String),
}

impl Verdict {
    /// The exit status that says so.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Good => 0,
            Self::Crash(_) => 10,
            Self::Stuck(_) => 11,
            Self::Wrong(_) => 12,
        }
    }

    /// A word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Crash(_) => "crash",
            Self::Stuck(_) => "stuck",
            Self::Wrong(_) => "wrong",
        }
    }

    /// Who found it, and what sort of thing it was, so that two failures can be compared: the
    /// checker if one spoke; otherwise the words, without their numbers, ids and machines.
    pub fn finder(&self) -> String {
        let reason = self.reason();
        match (self, reason.split_once(": ")) {
            (Self::Wrong(_), Some((checker, _))) => checker.to_owned(),
            _ => {
                let plain = |word: &&str| word.chars().all(|c| c.is_ascii_alphabetic());
                let words = reason.split_whitespace().filter(plain);
                words.take(FINDER_WORDS).collect::<Vec<_>>().join(" ")
            }
        }
    }

    /// What went wrong; empty if nothing did.
    pub fn reason(&self) -> &str {
        match self {
            Self::Good => "",
            Self::Crash(why) | Self::Stuck(why) | Self::Wrong(why) => why,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Good => Ok(()),
            _ => write!(f, ": {}", self.reason()),
        }
    }
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended.
    pub verdict: Verdict,
    /// Hash of everything that happened; the same for the same options, everywhere.
    pub trace: String,
    /// How many things happened.
    pub steps: u64,
    /// What was met.
    pub tally: Tally,
    /// What was acknowledged, and what of it was lost and may have been.
    pub losses: Losses,
    /// Virtual time that passed.
    pub virtual_time: Duration,
    /// Virtual time that healing took.
    pub healing: Duration,
    /// Machines at the end.
    pub machines: usize,
}

impl Outcome {
    fn crashed(why: String) -> Self {
        Self {
            verdict: Verdict::Crash(why),
            trace: String::new(),
            steps: 0,
            tally: Tally::default(),
            losses: Losses::default(),
            virtual_time: Duration::ZERO,
            healing: Duration::ZERO,
            machines: 0,
        }
    }
}

/// Runs what the options say. A panic is a verdict.
pub fn run(options: &Options) -> Outcome {
    run_and_look(options, |_| ()).0
}

/// The same; `look` sees the machines as they are in the end, unless there was a panic.
pub fn run_and_look<T>(
    options: &Options,
    look: impl FnOnce(&End<'_>) -> T,
) -> (Outcome, Option<T>) {
    let plan = Plan::new(options);
    let play = || Stage::new(&plan, options.trace).play_and_look(look);
    match catch_unwind(AssertUnwindSafe(play)) {
        Ok((outcome, seen)) => (outcome, Some(seen)),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let text = text.unwrap_or_else(|| "a panic without words".to_owned());
            (Outcome::crashed(text), None)
        }
    }
}

/// A run that can be looked at while it goes on: for experiments.
pub struct Stage {
    /// The machines.
    pub world: World,
    director: Director,
    checkers: Checkers,
    /// When they looked at everything last.
    looked: Micros,
    safety: Micros,
}

impl Stage {
    /// Everything in its place, nothing begun.
    pub fn new(plan: &Plan, trace: bool) -> Self {
        Self::set_up(plan, trace, Checkers::watch)
    }

    /// The same with nobody who checks anything: for experiments, which measure.
    pub fn unchecked(plan: &Plan) -> Self {
        Self::set_up(plan, false, |_| Checkers::none())
    }

    fn set_up(plan: &Plan, trace: bool, watch: impl FnOnce(&mut World) -> Checkers) -> Self {
        let mut world = World::new(plan.seed, plan.geography.clone(), Trace::new(trace));
        world.disks = plan.disk;
        let checkers = watch(&mut world);
        let director = Director::new(plan, &mut world);
        Self {
            world,
            director,
            checkers,
            looked: Micros(0),
            safety: SETTLED.after(plan.safety),
        }
    }

    /// Lets time pass until `until`; false if something went wrong.
    pub fn pass(&mut self, until: Micros) -> bool {
        while let Some(planned) = self.world.step(until) {
            self.director.act(&mut self.world, planned.0);
        }
        if self.world.wrong().is_some() || self.world.stuck().is_some() {
            return false;
        }
        self.world.now = until;
        true
    }

    /// Plays both acts.
    pub fn play(self) -> Outcome {
        self.play_and_look(|_| ()).0
    }

    fn play_and_look<T>(mut self, look: impl FnOnce(&End<'_>) -> T) -> (Outcome, T) {
        let verdict = self.act_one().and_then(|()| self.act_two());
        let healing_began = self.safety;
        self.world.count_all();
        let verdict = verdict.err().unwrap_or(Verdict::Good);
        let seen = look(&End {
            world: &self.world,
            ahead: &self.director.ahead,
            odd: &self.director.odd,
        });
        let passed = |time: Micros| Duration::from_micros(time.0);
        let outcome = Outcome {
            verdict,
            trace: self.world.trace.hash(),
            steps: self.world.trace.steps(),
            losses: self.checkers.losses(),
            virtual_time: passed(self.world.now),
            healing: passed(Micros(self.world.now.0.saturating_sub(healing_began.0))),
            machines: self.world.machines.len(),
            tally: self.world.tally,
        };
        (outcome, seen)
    }

    fn act_one(&mut self) -> Result<(), Verdict> {
        while self.world.now < self.safety {
            let next = self.world.now.after(GLANCE).min(self.safety);
            self.glance(next)?;
        }
        Ok(())
    }

    /// Lets time pass until `until`, and looks at what must hold all the time.
    fn glance(&mut self, until: Micros) -> Result<(), Verdict> {
        if !self.pass(until) {
            return Err(self.found_wrong());
        }
        // With many machines a look is dear.
        let many = self.world.machines.len() > MANY;
        if many && self.world.now < self.looked.after(GLANCE_AT_MANY) {
            return Ok(());
        }
        self.looked = self.world.now;
        self.checkers.look(&self.world).map_err(Verdict::Wrong)
    }

    /// By how much what was saved is ahead of the true time; what is a year ahead or hostile does
    /// not count.
    fn lead(&self) -> Micros {
        let world = &self.world;
        let ahead = &self.director.ahead;
        let odd = &self.director.odd;
        let shown = self
            .checkers
            .newest(|author| !odd.contains(author) && !world.is_hostile(author));
        // What was not shown before a crash is known to its author.
        let clocks = world.running().into_iter();
        let clocks = clocks.filter(|machine| !ahead.contains(machine)).map(|i| {
            let clock = world.clock(i);
            clock.plus_millis(world.replica(i).status(clock).clock_ahead_ms)
        });
        let newest = clocks.max().map_or(shown, |time| time.max(shown));
        let now = MachineClock::default().read(world.now).unix_millis();
        let lead_ms = newest.unix_millis().saturating_sub(now);
        // More than a clock was wrong nothing honest may be ahead, nor is it waited for.
        Micros::from_millis(lead_ms.min(LEAD_MS_MAX + 60_000))
    }

    fn found_wrong(&self) -> Verdict {
        if let Some(why) = self.world.stuck() {
            return Verdict::Stuck(why);
        }
        Verdict::Wrong(self.world.wrong().unwrap_or("nobody knows").to_owned())
    }

    fn act_two(&mut self) -> Result<(), Verdict> {
        self.director.heal(&mut self.world);
        let begun = self.world.now;
        // What is ahead of time is held until it is due.
        let mut end = begun.after(HEALING_MAX).after(self.lead());
        // Everybody who was down is up after a moment.
        let mut next = begun.after(LOOK);
        let mut stocked = false;
        let mut looks = 0;
        loop {
            self.glance(next)?;
            let all_up = self.world.running().len() == self.world.members().len();
            if all_up {
                // What was on its way to a disk when the faults stopped counts, too.
                self.checkers.take_stock(&self.world);
            }
            if all_up && !stocked {
                stocked = true;
                end = end.max(begun.after(HEALING_MAX).after(self.lead()));
            }
            looks += 1;
            if looks % STRANGERS == 0 {
                self.director.help_strangers(&mut self.world);
            }
            self.director.look_who_is_ahead(&self.world);
            let lag = self.lag();
            if all_up && lag.is_none() && !self.is_at_work() {
                // A chain that has ended may have been found out only now.
                self.glance(self.world.now.after(REST))?;
                if self.lag().is_none() && !self.is_at_work() {
                    break;
                }
                next = self.world.now;
            }
            if next >= end {
                self.world.describe();
                let lag = lag.unwrap_or_else(|| "not everybody is up, or at rest".to_owned());
                return Err(Verdict::Stuck(lag));
            }
            next = next.after(LOOK);
        }
        let end = End {
            world: &self.world,
            ahead: &self.director.ahead,
            odd: &self.director.odd,
        };
        let found = self.checkers.finish(&end).map_err(Verdict::Wrong);
        for mark in self.checkers.marks() {
            self.world.tally.mark(mark);
        }
        found
    }

    /// Whether something is being saved, or somebody repaired.
    fn is_at_work(&self) -> bool {
        self.world.is_saving() || self.director.is_repairing()
    }

    /// What keeps the machines from being one; nothing if nothing does.
    fn lag(&self) -> Option<String> {
        let end = End {
            world: &self.world,
            ahead: &self.director.ahead,
            odd: &self.director.odd,
        };
        match has_converged(&end) {
            Err(lag) => Some(lag.0),
            Ok(()) if !self.checkers.is_everywhere(&end) => {
                Some("something that was saved has not come everywhere".to_owned())
            }
            Ok(()) => None,
        }
    }
}
