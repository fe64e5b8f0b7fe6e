use super::world::World;
use crate::merge::Draft;
use crate::model::script::parse_line;
use crate::model::{RepoId, Sequence, Value};
use crate::replica::SaveError;

fn draft(world: &mut World, i: usize, lines: &[&str]) -> Draft {
    let replica = world.replica(i);
    let mut draft = Draft::new(replica.state(RepoId::MAIN).snapshot(), replica.origin());
    for line in lines {
        draft.apply(&parse_line(line).unwrap()).unwrap();
    }
    draft
}

#[test]
fn what_somebody_else_changed_meanwhile_is_not_overwritten_unless_asked() {
    let mut world = World::members(1, 160);
    world.save_and_wait(0, "add /a\nset /a x 1");
    let mut mine = draft(&mut world, 0, &["set /a x 2"]);
    world.save_and_wait(0, "set /a x 3");
    let error = world.save_draft(0, &mine).unwrap_err();
    assert!(
        matches!(&error, SaveError::Changed { items } if items.len() == 1),
        "{error}"
    );
    assert!(error.to_string().contains("/a"), "{error}");
    mine.overwrite(true);
    world.save_draft(0, &mine).unwrap();
    world.run(10);
    assert_eq!(world.get(0, "/a", "x"), Some(Value::Int(2)));
}

#[test]
fn an_empty_draft_and_one_that_is_too_large_are_refused() {
    let mut world = World::members(1, 161);
    let empty = draft(&mut world, 0, &[]);
    assert!(matches!(world.save_draft(0, &empty), Err(SaveError::Empty)));
    let text = "x".repeat(250_000);
    let lines: Vec<_> = (0..5).map(|n| format!("set / p{n} \"{text}\"")).collect();
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    let large = draft(&mut world, 0, &lines);
    let error = world.save_draft(0, &large).unwrap_err();
    assert!(matches!(error, SaveError::TooLarge { .. }), "{error}");
    // Nothing has changed, and the next one is saved.
    let receipt = world.save_and_wait(0, "add /a");
    assert_eq!(receipt.sequence, Sequence(1));
}

#[test]
fn saves_that_wait_together_share_one_commit() {
    let mut world = World::members(1, 162);
    world.run(50);
    world.machines[0].frozen_disk = true;
    let commits = world.replica(0).counters.commits;
    let tickets: Vec<_> = (0..40)
        .map(|n| world.save(0, &format!("add_unique /n{n}")))
        .collect();
    world.thaw(0);
    world.run(20);
    assert_eq!(world.replica(0).counters.commits, commits + 2);
    for ticket in tickets {
        assert!(world.machines[0].saved.contains_key(&ticket));
    }
}

#[test]
fn relaxed_saves_are_answered_at_once_and_told_to_others_after_the_barrier() {
    let mut world = World::members(2, 163);
    world.relaxed(0);
    world.connect(0, 1);
    world.converge(2_000);
    world.machines[0].frozen_disk = true;
    let events = world.machines[0].events.len();
    let ticket = world.save(0, "add /a\nset /a x 1");
    assert!(world.machines[0].saved.contains_key(&ticket));
    assert_eq!(world.get(0, "/a", "x"), Some(Value::Int(1)));
    let event = &world.machines[0].events[events];
    assert!(!event.durable);
    assert!(event.change_sets[0].local);
    world.run(500);
    assert_eq!(world.get(1, "/a", "x"), None);
    world.thaw(0);
    world.run(20);
    assert_eq!(world.get(1, "/a", "x"), Some(Value::Int(1)));
    assert_eq!(world.machines[0].events.len(), events + 1, "told once");
}

#[test]
fn relaxed_saves_wait_when_the_disk_falls_far_behind() {
    let mut world = World::members(1, 164);
    world.relaxed(0);
    world.machines[0].frozen_disk = true;
    let text = "x".repeat(200_000);
    let mut tickets = Vec::new();
    let error = loop {
        match world.try_save(0, &format!("set / p \"{text}\"")) {
            Ok(ticket) => tickets.push(ticket),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, SaveError::Busy), "{error}");
    let answered = world.machines[0].saved.len();
    assert!((10..40).contains(&answered), "{answered}");
    world.thaw(0);
    world.run(50);
    for ticket in tickets {
        assert!(world.machines[0].saved.contains_key(&ticket));
    }
}

#[test]
fn an_event_tells_who_did_what_and_shows_the_state_after_it() {
    let mut world = World::members(2, 165);
    world.connect(0, 1);
    world.converge(2_000);
    let mut mine = draft(&mut world, 0, &["add /a", "set /a x 1"]);
    mine.set_message("a first step").unwrap();
    world.save_draft(0, &mine).unwrap();
    world.run(20);
    for i in 0..2 {
        let author = world.key(0);
        let event = world.machines[i].events.last().unwrap();
        assert_eq!(event.repo, RepoId::MAIN);
        let info = &event.change_sets[0];
        assert_eq!(info.author, author);
        assert_eq!(info.message.as_deref(), Some("a first step"));
        assert_eq!(info.local, i == 0);
        assert!(!event.changes.is_empty());
        assert_eq!(
            event.snapshot.heads()[&info.id.origin].sequence,
            Sequence(1)
        );
    }
}

#[test]
fn a_clean_close_leaves_nothing_to_be_read_again() {
    let mut world = World::members(1, 166);
    let ticket = world.save(0, "add /a\nset /a x 1");
    let now = world.time(0);
    world.replica(0).close(now);
    world.drain(0);
    let refused = world.try_save(0, "add /b");
    assert!(matches!(refused, Err(SaveError::Closing)));
    world.run_until(1_000, |world| world.replica(0).is_closed());
    assert!(world.machines[0].saved.contains_key(&ticket));
    world.crash(0);
    world.open(0);
    assert_eq!(world.replica(0).counters.applied, 0);
    assert_eq!(world.get(0, "/a", "x"), Some(Value::Int(1)));
}

#[test]
fn a_draft_on_a_state_that_was_lost_is_refused() {
    let mut world = World::members(1, 167);
    world.relaxed(0);
    world.machines[0].frozen_disk = true;
    world.save(0, "add /a");
    let on_it = draft(&mut world, 0, &["set /a x 1"]);
    world.crash(0);
    world.machines[0].frozen_disk = false;
    world.open(0);
    assert!(matches!(world.save_draft(0, &on_it), Err(SaveError::Stale)));
}
