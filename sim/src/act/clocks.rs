//! What goes wrong with clocks.

use super::{Director, Ending, LEAD_MS_MAX};
use crate::chance::Chance;
use crate::plan::Kind;
use crate::world::World;

/// A year, in milliseconds.
const YEAR_MS: i64 = 365 * 86_400_000;

impl Director {
    /// Does it to the clock of one machine, if it can be done.
    pub(super) fn disturb_clock(
        &mut self,
        world: &mut World,
        kind: Kind,
        machine: usize,
        chance: &mut Chance,
    ) {
        let now = world.now;
        let others = world.running().len();
        let clock = &mut world.machines[machine].clock;
        let far =
            |chance: &mut Chance| i64::try_from(chance.spread(10, LEAD_MS_MAX)).expect("small");
        match kind {
            Kind::Skew => match chance.below(6) {
                0 | 1 => return,
                2 => clock.jump(far(chance)),
                3 => clock.jump(-far(chance)),
                // Within what is allowed.
                _ => clock.jump(i64::try_from(chance.within(1, 400)).expect("small")),
            },
            Kind::Drift => {
                let ppm = i64::try_from(chance.within(1, 20_000)).expect("small");
                clock.drift(now, if chance.permille(500) { ppm } else { -ppm });
            }
            Kind::JumpForward => {
                let room = i64::try_from(LEAD_MS_MAX).expect("small") - clock.lead_ms(now);
                if room <= 0 {
                    return;
                }
                clock.jump(far(chance).min(room));
            }
            Kind::JumpBack => clock.jump(-far(chance)),
            Kind::Frozen => {
                if !clock.freeze(now) {
                    return;
                }
                self.end_later(
                    world,
                    chance.spread(500_000, 30_000_000),
                    Ending::Thaw(machine),
                );
            }
            _ => {
                // Of those that stay, so that there is somebody left to compare.
                if machine == 0 || others < 3 || !self.ahead.is_empty() {
                    return;
                }
                // A copy of its directory takes what the original writes for its own.
                let key = world.machines[machine].identity.public();
                let copies = (0..world.machines.len())
                    .filter(|other| world.machines[*other].identity.public() == key);
                self.ahead.extend(copies);
                self.odd.insert(key);
                world.machines[machine].clock.jump(YEAR_MS);
            }
        }
        world.tally.meet(kind);
    }
}
