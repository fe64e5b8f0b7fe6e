//! Makes a failing run smaller: fewer kinds of faults, fewer saves, fewer machines, a shorter first
//! act, as long as it still fails in the same way.
//!
//! Everything that is drawn comes from streams of its own (`chance`), so that what is left out does
//! not change the rest: a run without the last hundred saves has the same first ones.

use std::mem::discriminant;

use crate::plan::{Options, Plan};
use crate::run::Verdict;
use crate::sweep::Runner;

/// Most runs that shrinking takes.
const RUNS_MAX: usize = 200;

/// Shrinks a run that ended with this verdict, when it was played in this way. The result ends with
/// one of the same sort, that the same checker has found.
pub fn shrink(options: &Options, verdict: &Verdict, runner: Runner) -> (Options, Verdict) {
    let mut search = Search {
        runner,
        best: options.clone(),
        verdict: verdict.clone(),
        runs: 0,
    };
    // What was drawn is said, so that it can be changed.
    let plan = Plan::new(options);
    search.best.replicas = Some(plan.replicas);
    search.best.saves = Some(plan.saves());
    search.best.seconds = Some(plan.safety.0 / 1_000_000);
    if !search.try_run(search.best.clone()) {
        return (options.clone(), verdict.clone());
    }
    while search.round() {}
    (search.best, search.verdict)
}

struct Search {
    runner: Runner,
    best: Options,
    verdict: Verdict,
    runs: usize,
}

impl Search {
    /// Keeps a run if it fails as the first one did.
    fn try_run(&mut self, options: Options) -> bool {
        if self.runs == RUNS_MAX {
            return false;
        }
        self.runs += 1;
        let verdict = self.runner.run(&options).verdict;
        let same = discriminant(&verdict) == discriminant(&self.verdict)
            && verdict.finder() == self.verdict.finder();
        if same {
            (self.best, self.verdict) = (options, verdict);
        }
        same
    }

    /// Tries everything once; whether anything helped.
    fn round(&mut self) -> bool {
        let mut helped = false;
        for kind in Plan::new(&self.best).kinds {
            let mut smaller = self.best.clone();
            smaller.with.remove(&kind);
            smaller.without.insert(kind);
            helped |= self.try_run(smaller);
        }
        helped |= self.less(|options| &mut options.saves, 0);
        helped |= self.less(|options| &mut options.replicas, 2);
        let mut seconds = |options: &mut Options, to: Option<usize>| {
            let now = options.seconds.and_then(|n| usize::try_from(n).ok());
            if let Some(to) = to {
                options.seconds = Some(to as u64);
            }
            now
        };
        helped |= self.halve(&mut seconds, 1);
        helped
    }

    fn less(&mut self, field: fn(&mut Options) -> &mut Option<usize>, least: usize) -> bool {
        let mut access = move |options: &mut Options, to: Option<usize>| {
            let field = field(options);
            let now = *field;
            if to.is_some() {
                *field = to;
            }
            now
        };
        self.halve(&mut access, least)
    }

    /// Makes a number smaller, by steps that begin large.
    fn halve(
        &mut self,
        access: &mut dyn FnMut(&mut Options, Option<usize>) -> Option<usize>,
        least: usize,
    ) -> bool {
        let mut helped = false;
        let now = access(&mut self.best.clone(), None).unwrap_or(least);
        let mut step = now.saturating_sub(least);
        while step > 0 {
            let now = access(&mut self.best.clone(), None).unwrap_or(least);
            if now < least + step {
                step /= 2;
                continue;
            }
            let mut smaller = self.best.clone();
            access(&mut smaller, Some(now - step));
            if self.try_run(smaller) {
                helped = true;
            } else {
                step /= 2;
            }
        }
        helped
    }
}
