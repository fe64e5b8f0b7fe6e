use super::world::{Weather, World};
use crate::replica::{Alarm, Durability};

/// Four replicas, meshed or in a line, sync or relaxed, with checkpoints at different paces, one
/// clock wrong, bad weather, crashes and cuts: all of it drawn from a seed.
fn check(seed: u64) {
    let meshed = seed.is_multiple_of(2);
    let linked = |a: usize, b: usize| a != b && (meshed || a.abs_diff(b) == 1);
    let mut world = World::members(4, 5_000 + seed);
    for i in 0..4 {
        world.crash(i);
        let config = &mut world.machines[i].config;
        config.checkpoint_interval_ms = 20 + 300 * i as u64;
        if seed.is_multiple_of(3) {
            config.durability = Durability::Relaxed;
        }
        world.open(i);
    }
    for a in 0..4 {
        for b in a + 1..4 {
            if linked(a, b) {
                world.connect(a, b);
            }
        }
    }
    world.weather = Weather {
        lost: 20 * (seed % 5) as u32,
        doubled: 50,
        jitter_ms: 5 * (seed % 9),
    };
    world.machines[2].clock_ms = [0, 300, 2_000, -3_000][seed as usize % 4];
    for n in 0..120 {
        let i = world.random(4);
        let lines = match world.random(5) {
            0 => format!("add_unique /n{n}"),
            1 => format!("set / p{} {n}", n % 7),
            2 => format!("add_unique /m{n}\nset /m{n} x 1"),
            _ => "inc / n 1".to_owned(),
        };
        world.save(i, &lines);
        let pause = world.random(25) as u64;
        world.run(pause);
        if world.random(15) == 0 {
            let victim = world.random(4);
            world.crash(victim);
            world.open(victim);
            for other in (0..4).filter(|&other| linked(other, victim)) {
                world.connect(other, victim);
            }
        }
        if n % 30 == 5 && meshed {
            let a = world.random(4);
            world.disconnect(a, (a + 1) % 4);
        }
    }
    world.converge(120_000);
    for machine in &world.machines {
        for alarm in &machine.alarms {
            assert!(matches!(alarm, Alarm::Future { .. }), "{seed}: {alarm}");
        }
        assert!(machine.closed.is_empty(), "{seed}: {:?}", machine.closed);
    }
}

#[test]
fn whatever_happens_at_once_replicas_converge() {
    (0..24).for_each(check);
}
