//! What the driver of a replica does: carries out what it puts out, and wakes it in time.

use leveret::merge::Draft;
use leveret::model::{OriginId, RepoId, Sequence};
use leveret::replica::{Alarm, Output, SaveError};
use leveret::storage::{Change, Key, StorageError};

use super::machine::{CrashAt, Down, Job, Life, Pending};
use super::queue::Micros;
use super::{Happening, Note, World};
use crate::plan::Kind;

/// How long a driver waits before it opens a store again that has failed.
const REOPEN_PAUSE: Micros = Micros::from_seconds(1);
/// How long a driver waits before it tries a checkpoint again for which there was no room.
const CHECKPOINT_PAUSE: Micros = Micros::from_seconds(2);

impl World {
    /// Carries out what a replica puts out, and plans when it is woken.
    pub(crate) fn drain(&mut self, machine: usize) {
        let clock = self.clock(machine);
        let me = &mut self.machines[machine];
        me.latest = me.latest.max(clock);
        while let Some(replica) = &mut self.machines[machine].replica {
            let Some(output) = replica.poll_output() else {
                break;
            };
            if !self.pace.beat(self.now, "output", Some(machine)) {
                break;
            }
            self.carry_out(machine, output);
        }
        self.plan_wake(machine);
    }

    fn carry_out(&mut self, machine: usize, output: Output) {
        match output {
            Output::Send { to, message } => {
                let disk = self.machines[machine].disk.storage();
                self.note(&Note::Sent {
                    machine,
                    message: &message,
                    disk: disk.as_ref(),
                });
                self.send(machine, to, &message);
            }
            Output::Commit { token, records } => {
                let takes = self.machines[machine].disk.commit_us(&mut self.chance);
                self.disk_job(machine, takes, Job::Commit(token, records));
            }
            Output::Checkpoint { token, changes } => {
                let takes = self.machines[machine].disk.checkpoint_us(&mut self.chance);
                self.disk_job(machine, takes, Job::Checkpoint(token, changes));
            }
            Output::Witness(mark) => {
                // It only reports losses: without it the machine goes on.
                let _ = self.machines[machine].disk.witness(&mark);
            }
            Output::Saved { ticket, receipt } => {
                let now = self.now;
                // What a replica saves by itself, as when it lets somebody in, nobody asked for.
                let itself = || Pending {
                    asked: now,
                    seen: Vec::new(),
                };
                let pending = self.machines[machine].saves.remove(&ticket);
                let Pending { asked, seen } = pending.unwrap_or_else(itself);
                if receipt.repo == RepoId::MAIN {
                    self.trace
                        .line(now, machine, format_args!("saved {}", receipt.id));
                    self.trace
                        .step(now, machine, "saved", &receipt.id.to_bytes());
                }
                let disk = self.machines[machine].disk.storage();
                self.note(&Note::Saved {
                    machine,
                    receipt: &receipt,
                    disk: disk.as_ref(),
                    asked,
                    now,
                    seen: &seen,
                });
            }
            Output::SaveFailed { ticket, .. } => {
                self.machines[machine].saves.remove(&ticket);
                self.tally.mark("save failed");
            }
            Output::Event(event) => {
                let digest = event.snapshot.digest();
                for set in &event.change_sets {
                    self.trace.line(
                        self.now,
                        machine,
                        format_args!("shows {} number {}", set.id, set.sequence),
                    );
                }
                for change in &event.changes {
                    self.trace
                        .line(self.now, machine, format_args!("  {change:?}"));
                }
                self.trace.step(self.now, machine, "event", &digest.0);
                let Some(replica) = self.machines[machine].replica.take() else {
                    return;
                };
                let now = self.now;
                let hostile = std::mem::take(&mut self.hostile_origins);
                let disk = self.machines[machine].disk.storage();
                self.note(&Note::Event {
                    machine,
                    event: &event,
                    disk: disk.as_ref(),
                    now,
                    latest: self.machines[machine].latest,
                    replica: &replica,
                    hostile: &hostile,
                });
                self.hostile_origins = hostile;
                self.machines[machine].replica = Some(replica);
            }
            Output::Close { connection, reason } => {
                self.trace.line(
                    self.now,
                    machine,
                    format_args!("closes a connection: {reason}"),
                );
                self.tally.mark("connection closed for bad manners");
                self.close_connection(machine, connection);
            }
            Output::MembersChanged => {}
            Output::Alarm(alarm) => self.alarm(machine, &alarm),
            other => panic!("the driver knows nothing of {other:?}"),
        }
    }

    fn alarm(&mut self, machine: usize, alarm: &Alarm) {
        self.trace
            .line(self.now, machine, format_args!("alarm: {alarm}"));
        if let Alarm::Storage(_) | Alarm::Remake { .. } | Alarm::Ahead { .. } = alarm {
            self.store_failed(machine);
        }
        if let Alarm::Digest { peer, .. } = alarm
            && self.is_hostile(peer)
        {
            // It says what it likes.
            return;
        }
        let of_hostile = match alarm {
            Alarm::Invalid {
                author,
                repo,
                origin,
                sequence,
                ..
            } => self.is_hostile(author) || self.builds_on_hostile(*repo, *origin, *sequence),
            Alarm::Fork { author, .. } | Alarm::Future { author, .. } => self.is_hostile(author),
            _ => false,
        };
        self.note(&Note::Alarm {
            machine,
            alarm,
            of_hostile,
        });
    }

    /// Whether a change set names one of a hostile author, who may have shown its own author another
    /// one under that number. Whoever sent it has it in its journal.
    fn builds_on_hostile(&self, repo: RepoId, origin: OriginId, sequence: Sequence) -> bool {
        let replicas = self.machines.iter().filter_map(|one| one.replica.as_ref());
        let mut found = replicas.filter_map(|replica| {
            let set = replica.journal(repo).change_set(origin, sequence);
            set.expect("a store in memory can be read")
        });
        found.any(|set| {
            let mut on = set.dependencies.iter();
            on.any(|on| self.hostile_origins.contains(&on.origin))
        })
    }

    fn disk_job(&mut self, machine: usize, takes: u64, job: Job) {
        self.serial += 1;
        let number = self.serial;
        let at = self.now.plus(takes);
        let machine_ = &mut self.machines[machine];
        machine_.jobs.insert(number, job);
        let life = machine_.life;
        let slow = machine_.disk.is_slow();
        self.queue.push(
            at,
            Happening::Disk {
                machine,
                life,
                job: number,
                slow,
            },
        );
    }

    /// A disk has come to a job.
    pub(super) fn disk_done(&mut self, machine: usize, life: Life, number: u64, slow: bool) {
        let now = self.clock(machine);
        let me = &mut self.machines[machine];
        if me.life != life {
            return;
        }
        let Some(job) = me.jobs.remove(&number) else {
            return;
        };
        let what = if matches!(job, Job::Commit(..)) {
            "commit"
        } else {
            "checkpoint"
        };
        self.trace
            .line(self.now, machine, format_args!("disk: {what}"));
        if slow {
            self.tally.meet(Kind::SlowSync);
        }
        match job {
            Job::Commit(token, records) => {
                let usable = !me.disk.is_full() && !me.disk.is_lying();
                if let Some(at) = me.crash_at.take_if(|at| at.falls_on(&records, usable)) {
                    return self.crash_at(machine, at, &records);
                }
                match me.disk.append(&records) {
                    Ok(()) => {
                        self.note_durable(machine, &records);
                        if let Some(replica) = &mut self.machines[machine].replica {
                            replica.committed(now, token);
                        }
                    }
                    Err(error) => return self.fail_store(machine, error),
                }
            }
            Job::Checkpoint(_, changes) if me.crashes_at_checkpoint() => {
                return self.crash_at_checkpoint(machine, &changes);
            }
            Job::Checkpoint(token, changes) => match me.disk.checkpoint(&changes) {
                Ok(()) => {
                    if let Some(replica) = &mut me.replica {
                        replica.checkpointed(now, token);
                    }
                    let disk = &self.machines[machine].disk.storage();
                    self.note(&Note::Checkpointed { machine, disk });
                }
                Err(StorageError::Full(_)) => {
                    self.tally.meet(Kind::DiskFull);
                    self.disk_job(machine, CHECKPOINT_PAUSE.0, Job::Checkpoint(token, changes));
                    return;
                }
                Err(error) => return self.fail_store(machine, error),
            },
        }
        self.drain(machine);
    }

    fn note_durable(&mut self, machine: usize, records: &[(Key, Vec<u8>)]) {
        if !self.machines[machine].disk.is_lying() {
            self.note(&Note::Durable { machine, records });
        }
    }

    fn crash_at(&mut self, machine: usize, at: CrashAt, records: &[(Vec<u8>, Vec<u8>)]) {
        match at {
            CrashAt::Before => self.crash_met(Kind::Crash, "crash before a commit"),
            CrashAt::Amid(permille) => {
                // Some of them, and not all.
                let kept = 1 + (records.len() - 2) * permille as usize / 1_000;
                self.machines[machine].disk.tear(records, kept);
                self.crash_met(Kind::Torn, "crash amid a commit");
            }
            CrashAt::After => {
                self.crash_met(Kind::Crash, "crash after a commit");
                // Whether it is durable or refused: nobody hears of it.
                if self.machines[machine].disk.append(records).is_ok() {
                    self.note_durable(machine, records);
                }
            }
            CrashAt::Checkpoint { .. } => unreachable!("it falls on no commit"),
        }
        self.crash_now(machine);
    }

    fn crash_at_checkpoint(&mut self, machine: usize, changes: &[Change]) {
        let me = &mut self.machines[machine];
        if let Some(CrashAt::Checkpoint { kept }) = me.crash_at.take() {
            me.disk.tear_checkpoint(changes, kept);
            self.crash_met(Kind::Torn, "crash amid a checkpoint");
        }
        self.crash_now(machine);
    }

    fn crash_met(&mut self, kind: Kind, mark: &'static str) {
        self.tally.meet(kind);
        self.tally.mark(mark);
    }

    fn crash_now(&mut self, machine: usize) {
        self.go_down(machine, Down::Crashed);
        let pause = self.chance.spread(100, 10_000) * 1_000;
        self.start_after(machine, pause);
    }

    /// A write has failed: the replica is told, and the store is opened again after a while.
    fn fail_store(&mut self, machine: usize, error: StorageError) {
        if matches!(error, StorageError::Full(_)) {
            self.tally.meet(Kind::DiskFull);
        }
        let now = self.clock(machine);
        if let Some(replica) = &mut self.machines[machine].replica {
            replica.storage_failed(now, error);
        }
        self.store_failed(machine);
        self.drain(machine);
    }

    /// Drops what waits for a store that has failed, and plans to open it again.
    fn store_failed(&mut self, machine: usize) {
        let me = &mut self.machines[machine];
        me.jobs.clear();
        if !std::mem::replace(&mut me.reopening, true) {
            let life = me.life;
            let at = self.now.after(REOPEN_PAUSE);
            self.queue.push(at, Happening::Reopen { machine, life });
        }
    }

    /// Whether a commit is out on any machine that runs, or a session is open.
    pub(crate) fn is_saving(&self) -> bool {
        let mut up = self.machines.iter().filter(|machine| machine.is_up());
        up.any(|machine| {
            let mut jobs = machine.jobs.values();
            jobs.any(|job| matches!(job, Job::Commit(..))) || !machine.drafts.is_empty()
        })
    }

    /// A replica is woken, if it is time.
    pub(super) fn wake(&mut self, machine: usize, life: Life) {
        let now = self.clock(machine);
        let me = &mut self.machines[machine];
        if me.life != life || me.wakes != Some(self.now) {
            return;
        }
        me.wakes = None;
        let Some(replica) = &mut me.replica else {
            return;
        };
        if replica.is_due(now) {
            replica.handle_timeout(now);
            self.trace.step(self.now, machine, "wake", &[]);
        }
        self.drain(machine);
    }

    fn plan_wake(&mut self, machine: usize) {
        let me = &mut self.machines[machine];
        let Some(replica) = &me.replica else {
            return;
        };
        let due = replica.next_timeout();
        let Some(wait) = me.clock.until(self.now, due) else {
            return;
        };
        let at = self.now.plus(wait);
        if me.wakes.is_none_or(|planned| at < planned) {
            me.wakes = Some(at);
            let life = me.life;
            self.queue.push(at, Happening::Wake { machine, life });
        }
    }

    /// Saves a draft on a machine that runs. Whether it was taken.
    pub fn save(&mut self, machine: usize, draft: &Draft) -> bool {
        let now = self.clock(machine);
        let asked = self.now;
        let me = &mut self.machines[machine];
        let Some(replica) = &mut me.replica else {
            return false;
        };
        let taken = match replica.save(now, draft) {
            Ok(ticket) => {
                let mut seen = draft.snapshot().frontier().to_vec();
                seen.sort_by_key(|dependency| dependency.origin);
                me.saves.insert(ticket, Pending { asked, seen });
                self.tally.saves += 1;
                true
            }
            Err(error) => {
                self.tally.refused += 1;
                self.tally.mark(match error {
                    SaveError::Changed { .. } => "save refused: changed",
                    SaveError::ReadOnly(_) => "save refused: read only",
                    SaveError::Busy => "save refused: busy",
                    SaveError::Stale => "save refused: stale",
                    _ => "save refused: other",
                });
                false
            }
        };
        self.drain(machine);
        taken
    }

    /// Keeps a draft, to be saved later.
    pub(crate) fn save_later(&mut self, machine: usize, draft: Draft, pause_us: u64) {
        self.serial += 1;
        let number = self.serial;
        let me = &mut self.machines[machine];
        me.drafts.insert(number, draft);
        let life = me.life;
        self.queue.push(
            self.now.plus(pause_us),
            Happening::Finish {
                machine,
                life,
                draft: number,
            },
        );
    }

    pub(super) fn finish(&mut self, machine: usize, life: Life, number: u64) {
        let me = &mut self.machines[machine];
        if me.life == life
            && let Some(draft) = me.drafts.remove(&number)
        {
            self.save(machine, &draft);
        }
    }
}
