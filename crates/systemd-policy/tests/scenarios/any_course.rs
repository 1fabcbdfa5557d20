//! What holds whatever happens: whichever services die, however memory is pressed upon, whenever the bus is away and the daemon
//! is killed.

use proptest::prelude::*;
use systemd_policy::act::Measures;
use systemd_policy::{Action, Recommendation, observe};

use super::machine::{MIB, Machine};
use super::memory_daemon::daemon;
use super::{CRITICAL, LOOK_APART, LOW, is_kept_out_of_swap, strict};

const UNITS: [&str; 3] = [CRITICAL, LOW, "vmtest-pressure.service"];

#[derive(Debug, Clone)]
enum Event {
    /// So many rounds pass.
    Rounds(usize),
    /// Somebody fills so many MiB.
    Press(u64),
    /// And gives them back.
    Ease,
    /// A service dies at once.
    Death(&'static str),
    /// It dies when the daemon has touched it so often.
    DeathInDeed(&'static str, u32),
    /// The system bus goes, or comes back.
    Bus { is_away: bool },
    /// The daemon is killed, and the next one begins.
    Killed,
}

fn event() -> impl Strategy<Value = Event> {
    let unit = || prop::sample::select(&UNITS[..]);
    prop_oneof![
        6 => (1_usize..6).prop_map(Event::Rounds),
        4 => (1_u64..160).prop_map(Event::Press),
        2 => Just(Event::Ease),
        1 => unit().prop_map(Event::Death),
        1 => (unit(), 1_u32..12).prop_map(|(unit, calls)| Event::DeathInDeed(unit, calls)),
        1 => any::<bool>().prop_map(|is_away| Event::Bus { is_away }),
        1 => Just(Event::Killed),
    ]
}

/// What is never done to a critical service.
fn harms(action: Action) -> bool {
    matches!(action, Action::Reclaim | Action::Limit)
}

fn is_short(machine: &Machine) -> bool {
    observe(&machine.roots(), &strict()).unwrap().system.ram_share() >= strict().ram_high
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_is_critical_is_kept_out_of_swap_all_is_restored_and_nobody_is_killed(
        tree in prop::sample::select(&["vm-apply-pressed", "vm-daemon-pressed"][..]),
        events in prop::collection::vec(event(), 1..24),
    ) {
        let (machine, run) = (Machine::of(tree), tempfile::tempdir().unwrap());
        let before = UNITS.map(|unit| (unit, machine.limits(unit)));
        let (mut current, _) = daemon(&machine, run.path());
        let mut is_away = false;
        for event in events {
            let all = machine.processes();
            let living = UNITS.map(|unit| machine.limits(unit).is_some());
            let kept = is_kept_out_of_swap(&machine, CRITICAL).then(|| machine.swapped(CRITICAL));
            match &event {
                Event::Rounds(count) => {
                    for _ in 0..*count {
                        machine.pass(LOOK_APART);
                        let recommendations = current.round().unwrap().recommendations;
                        let harms = recommendations.iter().filter(|one| one.service == CRITICAL && harms(one.action));
                        prop_assert_eq!(harms.collect::<Vec<_>>(), Vec::<&Recommendation>::new());
                    }
                    // Rounds only make room, so what is short at the end was so in each. The first look calls for nothing, and
                    // what was lifted in the last round is held in the next.
                    let looked_after = *count >= 3 && !is_away && is_short(&machine);
                    // One that is gone, or was swapped whole before, has nothing to keep.
                    if looked_after && machine.rss(CRITICAL) > 8 * MIB {
                        prop_assert!(is_kept_out_of_swap(&machine, CRITICAL));
                    }
                }
                Event::Press(mib) => machine.press(*mib),
                Event::Ease => machine.ease(),
                Event::Death(unit) => machine.end(unit),
                Event::DeathInDeed(unit, calls) => machine.dies_after(unit, *calls),
                Event::Bus { is_away: now } => {
                    is_away = *now;
                    machine.set_bus_away(is_away);
                }
                Event::Killed => {
                    // The next one is there before the first is gone, which changes nothing.
                    current = daemon(&machine, run.path()).0;
                }
            }
            if let Some(swapped) = kept {
                prop_assert!(machine.swapped(CRITICAL) <= swapped, "{event:?}");
            }
            // Each unit has one process, which ends only with it.
            let died = UNITS.iter().zip(living).filter(|(unit, lived)| *lived && machine.limits(unit).is_none());
            prop_assert_eq!(all.len() - machine.processes().len(), died.count(), "{:?}", event);
        }
        machine.set_bus_away(false);
        // What a killed one left is taken over with the first look.
        machine.pass(LOOK_APART);
        prop_assert!(current.round().is_ok());
        // With one that dies while it is taken back, there is nothing left to take back.
        let ended = current.end();
        prop_assert!(ended.is_complete(), "{ended:?}");
        prop_assert_eq!(Measures::read(&run.path().join("measures.json")).unwrap(), []);
        for (unit, limits) in before {
            let now = machine.limits(unit);
            prop_assert!(now.is_none() || now == limits, "{unit}: {now:?}, not {limits:?}");
        }
    }
}
