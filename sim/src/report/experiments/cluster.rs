//! A cluster that an experiment measures: whole replicas in a calm world, saves at an even pace,
//! and a witness that notes when each replica showed what.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use leveret::merge::{Draft, MergeCounters};
use leveret::model::script::parse_line;
use leveret::model::{ChangeSet, RepoId, Sequence};

use super::witness::{Seen, Witness};
use super::{Place, Terms};
use crate::chance::Chance;
use crate::plan::{Kind, Options, Plan, Profile};
use crate::run::Stage;
use crate::world::{Micros, Tally};

/// Longest virtual time in which a cluster has to come to rest.
const REST_MAX: Micros = Micros::from_seconds(300);
/// Time between two looks whether it has.
const LOOK: Micros = Micros::from_millis(250);
/// How often a line is drawn again that its author's view refuses.
const TRIES: usize = 16;
/// What a failing read would break.
const READABLE: &str = "a store in memory can be read";

/// See the top of the file.
pub(super) struct Cluster {
    stage: Stage,
    seen: Rc<RefCell<Seen>>,
    chance: Chance,
    replicas: usize,
}

impl Cluster {
    /// A cluster whose replicas all know one another, at rest.
    ///
    /// # Errors
    /// If it does not come to rest.
    pub(super) fn new(terms: &Terms, replicas: usize, place: Place) -> Result<Self, String> {
        let options = Options {
            profile: Profile::Calm,
            replicas: Some(replicas),
            saves: Some(0),
            seconds: Some(1),
            ..Options::new(terms.seed)
        };
        let mut plan = Plan::new(&options);
        plan.geography = place.geography(replicas);
        let mut stage = Stage::unchecked(&plan);
        let seen = Rc::new(RefCell::new(Seen::new(replicas)));
        stage.world.watch(Box::new(Witness(seen.clone())));
        let mut cluster = Self {
            stage,
            seen,
            chance: Chance::new(terms.seed, "experiment"),
            replicas,
        };
        // The founder makes everybody a member, and they connect as they learn of one another.
        cluster.wait("get to know one another", Self::all_are_connected)?;
        Ok(cluster)
    }

    /// Of a thousand datagrams, so many are lost from now on.
    pub(super) fn lose(&mut self, permille: u32) {
        self.stage.world.network.weather.lost_permille = permille;
    }

    /// The present.
    pub(super) fn now(&self) -> Micros {
        self.stage.world.now
    }

    /// What has been counted so far.
    pub(super) fn tally(&self) -> &Tally {
        &self.stage.world.tally
    }

    /// What the witness has noted.
    pub(super) fn seen(&self) -> std::cell::Ref<'_, Seen> {
        self.seen.borrow()
    }

    /// Lets so much time pass.
    pub(super) fn pass(&mut self, time: Micros) {
        let until = self.now().after(time);
        self.pass_until(until);
    }

    fn pass_until(&mut self, until: Micros) {
        // Nobody watches who could find anything wrong.
        self.stage.pass(until);
    }

    /// Saves lines by the first replica as one change set, and waits until everybody has it.
    ///
    /// # Errors
    /// If that takes too long.
    pub(super) fn prepare(&mut self, lines: &[String]) -> Result<(), String> {
        let mut draft = self.draft(0);
        for line in lines {
            let operation = parse_line(line).expect("a well-formed line");
            draft.apply(&operation).map_err(|error| error.to_string())?;
        }
        self.stage.world.save(0, &draft);
        self.come_together()
    }

    /// For so long, a random replica saves one operation whenever `gap` has passed.
    pub(super) fn load(
        &mut self,
        time: Micros,
        gap: Micros,
        line: &mut dyn FnMut(&mut Chance) -> String,
    ) {
        let begun = self.now();
        for number in 0..time.0 / gap.0.max(1) {
            self.pass_until(begun.plus(number * gap.0));
            let machine = self.chance.index(self.replicas);
            let mut draft = self.draft(machine);
            for _ in 0..TRIES {
                let operation = parse_line(&line(&mut self.chance)).expect("a well-formed line");
                if draft.apply(&operation).is_ok() {
                    break;
                }
            }
            if draft.operations() > 0 {
                self.stage.world.save(machine, &draft);
            }
        }
        self.pass_until(begun.after(time));
    }

    fn draft(&self, machine: usize) -> Draft {
        let replica = self.stage.world.replica(machine);
        Draft::new(replica.state(RepoId::MAIN).snapshot(), replica.origin())
    }

    /// Cuts every way between two replicas that `apart` says are apart.
    pub(super) fn cut(&mut self, apart: impl Fn(usize, usize) -> bool) {
        self.for_each_way(apart, |cluster, from, to| {
            cluster.stage.world.cut(from, to, Kind::Partition);
        });
    }

    /// Ends all cuts.
    pub(super) fn mend(&mut self) {
        let cut = |cluster: &Self, from, to| cluster.stage.world.network.is_cut(from, to);
        let cuts: Vec<(usize, usize)> = (0..self.replicas)
            .flat_map(|from| (0..self.replicas).map(move |to| (from, to)))
            .filter(|(from, to)| cut(self, *from, *to))
            .collect();
        cuts.into_iter()
            .for_each(|(from, to)| self.stage.world.mend(from, to, Kind::Partition));
    }

    fn for_each_way(
        &mut self,
        chosen: impl Fn(usize, usize) -> bool,
        act: impl Fn(&mut Self, usize, usize),
    ) {
        for from in 0..self.replicas {
            for to in 0..self.replicas {
                if from != to && chosen(from, to) {
                    act(self, from, to);
                }
            }
        }
    }

    /// Waits until everybody shows everything, and looks whether all have the same state then.
    ///
    /// # Errors
    /// If it takes too long, or they have not.
    pub(super) fn come_together(&mut self) -> Result<(), String> {
        self.wait("show everything", |cluster| cluster.seen().is_complete())?;
        let digest = |machine| {
            let replica = self.stage.world.replica(machine);
            replica.state(RepoId::MAIN).snapshot().digest()
        };
        let first = digest(0);
        match (1..self.replicas).find(|machine| digest(*machine) != first) {
            None => Ok(()),
            Some(machine) => Err(format!(
                "replica {machine} came to another state than the first"
            )),
        }
    }

    fn wait(&mut self, what: &str, is_done: impl Fn(&Self) -> bool) -> Result<(), String> {
        let end = self.now().after(REST_MAX);
        while !is_done(self) {
            if self.now() >= end {
                let seconds = REST_MAX.0 / 1_000_000;
                return Err(format!(
                    "{} replicas did not {what} in {seconds} s",
                    self.replicas
                ));
            }
            self.pass(LOOK);
        }
        Ok(())
    }

    fn all_are_connected(&self) -> bool {
        let world = &self.stage.world;
        let others = self.replicas - 1;
        (0..self.replicas).all(|machine| world.connections_of(machine).len() == others)
    }

    /// Forgets what was noted; begins to note how late change sets come.
    pub(super) fn begin(&mut self) {
        self.seen.borrow_mut().begin();
    }

    /// What merging has cost so far, at all replicas together.
    pub(super) fn merging(&self) -> MergeCost {
        let mut cost = MergeCost::default();
        for machine in 0..self.replicas {
            let replica = self.stage.world.replica(machine);
            cost.add(&replica.state(RepoId::MAIN).counters());
        }
        cost
    }

    /// Everything that has been saved, in order of the ids.
    pub(super) fn history(&self) -> Vec<Arc<ChangeSet>> {
        let replica = self.stage.world.replica(0);
        let snapshot = replica.state(RepoId::MAIN).snapshot();
        let reader = replica.journal(RepoId::MAIN);
        let mut sets = Vec::new();
        for (origin, head) in snapshot.heads().iter() {
            for sequence in 1..=head.sequence.0 {
                let set = reader
                    .change_set(*origin, Sequence(sequence))
                    .expect(READABLE);
                sets.push(Arc::new(set.expect("what is applied is in the journal")));
            }
        }
        sets.sort_by_key(|set| set.id);
        sets
    }
}

/// What merging cost, of [`MergeCounters`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MergeCost {
    pub(super) change_sets: u64,
    pub(super) late: u64,
    pub(super) rewinds: u64,
    pub(super) reevaluated: u64,
    pub(super) revised: u64,
    pub(super) records_read: u64,
}

impl MergeCost {
    fn add(&mut self, counters: &MergeCounters) {
        self.change_sets += counters.change_sets;
        self.late += counters.late;
        self.rewinds += counters.rewinds;
        self.reevaluated += counters.reevaluated;
        self.revised += counters.revised;
        self.records_read += counters.records_read;
    }

    /// What came since.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            change_sets: self.change_sets - before.change_sets,
            late: self.late - before.late,
            rewinds: self.rewinds - before.rewinds,
            reevaluated: self.reevaluated - before.reevaluated,
            revised: self.revised - before.revised,
            records_read: self.records_read - before.records_read,
        }
    }
}
