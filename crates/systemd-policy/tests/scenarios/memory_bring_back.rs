//! Pages of a critical service that went to swap come back where RAM has room.

use super::machine::{MIB, Machine};
use super::{CRITICAL, LOW, Operator, configured};

#[test]
fn pages_of_the_critical_service_come_back_and_those_of_the_low_one_stay() {
    let machine = Machine::of("vm-bring-back-swapped");
    let (critical, low) = (machine.swapped(CRITICAL), machine.swapped(LOW));
    assert!(critical > 40 * MIB && low > 20 * MIB, "{critical} {low}");
    let processes = machine.processes();
    let mut operator = Operator::of(&machine, configured());
    operator.apply_until("the critical service's pages are back", |machine| {
        machine.swapped(CRITICAL) < critical / 4
    });
    assert!(machine.rss(CRITICAL) > 100_000 << 10, "{}", machine.rss(CRITICAL));
    assert_eq!(machine.swapped(LOW), low);
    assert_eq!((machine.oom_kills(), machine.processes()), (0, processes));
}

#[test]
fn where_there_is_no_room_they_stay_where_they_are() {
    // To 77 %, which is neither high nor clearly below that, and to 90 %.
    for mib in [340, 430] {
        let machine = Machine::of("vm-bring-back-swapped");
        machine.press(mib);
        let critical = machine.swapped(CRITICAL);
        let mut operator = Operator::of(&machine, configured());
        for _ in 0..5 {
            operator.apply();
        }
        assert_eq!((machine.swapped(CRITICAL), machine.oom_kills()), (critical, 0), "{mib} MiB");
    }
}

/// What the kernel did in the machine.
#[test]
fn the_machine_that_was_recorded_after_it_was_so() {
    let (before, after) = (Machine::of("vm-bring-back-swapped"), Machine::of("vm-bring-back-done"));
    assert!(after.swapped(CRITICAL) < before.swapped(CRITICAL) / 4);
    assert!(after.rss(CRITICAL) > 100_000 << 10);
    assert!(after.swapped(LOW) >= before.swapped(LOW) - 2 * MIB);
}
