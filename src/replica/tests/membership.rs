use super::world::World;
use crate::model::{RepoId, Value};
use crate::replica::JoinCheck;

#[test]
fn a_founder_writes_its_own_record_and_a_newcomer_its_address() {
    let mut world = World::strangers(2, 80);
    world.run(50);
    let (founder, newcomer) = (world.key(0), world.key(1));
    let members = world.replica(0).members().to_vec();
    assert_eq!(members.len(), 1);
    assert_eq!(members[0].key, founder);
    assert_eq!(members[0].name, "m0");
    assert_eq!(members[0].addresses, ["10.0.0.0:7411"]);
    assert!(!world.replica(0).is_member(&newcomer));
    world.admit(0, 1);
    assert!(world.replica(0).is_member(&newcomer));
    world.connect(0, 1);
    world.converge(3_000);
    world.run(100);
    world.converge(3_000);
    for i in 0..2 {
        let members = world.replica(i).members().to_vec();
        let record = members.iter().find(|m| m.key == newcomer).unwrap();
        assert_eq!(record.addresses, ["10.0.0.1:7411"]);
        assert_eq!(record.admitted_by, Some(founder));
    }
    // Nothing is written again in the next life.
    world.run(6_000);
    let heads = world.applied(1, RepoId::SYSTEM);
    world.crash(1);
    world.open(1);
    world.run(100);
    assert_eq!(world.applied(1, RepoId::SYSTEM), heads);
    // Unless the address has changed.
    world.crash(1);
    world.machines[1].config.addresses = vec!["10.0.0.9:1".to_owned()];
    world.open(1);
    world.connect(0, 1);
    world.run(3_000);
    let members = world.replica(0).members().to_vec();
    let record = members.iter().find(|m| m.key == newcomer).unwrap();
    assert_eq!(record.addresses, ["10.0.0.9:1"]);
}

#[test]
pub(super) fn what_a_stranger_wrote_is_not_taken_until_it_is_a_member() {
    let mut world = World::strangers(3, 81);
    world.admit(0, 1);
    world.connect(0, 1);
    world.run(3_000);
    world.save_and_wait(2, "add /mine\nset /mine x 1");
    world.connect(1, 2);
    world.run(3_000);
    assert_eq!(world.get(1, "/mine", "x"), None);
    assert!(world.replica(1).counters.not_members > 0);
    assert!(world.machines[1].closed.is_empty(), "nobody is to blame");
    let asked = world.replica(1).counters.wants_sent;
    world.run(5_000);
    assert_eq!(
        world.replica(1).counters.wants_sent,
        asked,
        "nor asked again"
    );
    world.admit(0, 2);
    world.converge(3_000);
    assert_eq!(world.get(0, "/mine", "x"), Some(Value::Int(1)));
}

#[test]
fn a_member_that_others_do_not_know_yet_is_taken_as_soon_as_they_do() {
    let mut world = World::members(2, 82);
    world.connect(0, 1);
    world.converge(2_000);
    world.disconnect(0, 1);
    let third = world.strangers_like(0);
    world.admit(0, third);
    world.connect(0, third);
    world.run(2_000);
    world.save_and_wait(third, "add /c\nset /c x 1");
    world.disconnect(0, third);
    // Machine 1 hears of the newcomer from the newcomer itself.
    world.connect(1, third);
    world.run(3_000);
    assert_eq!(world.get(1, "/c", "x"), Some(Value::Int(1)));
    let key = world.key(third);
    assert!(world.replica(1).is_member(&key));
}

#[test]
fn a_removed_member_is_none_but_what_it_wrote_stays() {
    let mut world = World::members(3, 83);
    world.connect(0, 1);
    world.run(2_000);
    world.save_and_wait(1, "add /b\nset /b x 1");
    let key = world.key(1);
    world.run(100);
    world.remove_member(0, key);
    assert!(!world.replica(0).is_member(&key));
    // A newcomer takes the removed one's chain from others.
    world.disconnect(0, 1);
    world.connect(0, 2);
    world.run(3_000);
    assert_eq!(world.get(2, "/b", "x"), Some(Value::Int(1)));
    world.crash(2);
    world.open(2);
    assert_eq!(world.get(2, "/b", "x"), Some(Value::Int(1)));
}

#[test]
fn tokens_are_right_wrong_or_expired() {
    let mut world = World::members(2, 84);
    let now = world.time(0);
    let expires = now.plus_millis(60_000);
    let (secret, ticket) = world.replica(0).issue_token(now, expires).unwrap();
    world.drain(0);
    world.run(20);
    assert!(world.machines[0].saved.contains_key(&ticket));
    world.connect(0, 1);
    world.converge(2_000);
    for i in 0..2 {
        let now = world.time(i);
        let check = |at, secret: &[u8]| {
            world.machines[i]
                .replica
                .as_ref()
                .unwrap()
                .check_join(at, secret)
        };
        assert_eq!(check(now, &secret).unwrap(), JoinCheck::Ok);
        assert_eq!(check(now, b"guess").unwrap(), JoinCheck::Wrong);
        let late = now.plus_millis(61_000);
        assert_eq!(check(late, &secret).unwrap(), JoinCheck::Expired);
    }
    let (other, _) = world.replica(0).issue_token(now, expires).unwrap();
    assert_ne!(secret, other);
}
