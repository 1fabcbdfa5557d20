//! Under pressure the critical service stays out of swap and the low one goes, after `memory apply`; limits are in effect until
//! they are taken back; nothing is killed.

use systemd_policy::Action;
use systemd_policy::act::lift_all;

use super::machine::{MIB, Machine};
use super::{CRITICAL, LOW, Operator, is_kept_out_of_swap, strict};

#[test]
fn a_dry_run_says_what_would_be_done_and_changes_nothing() {
    let machine = Machine::of("vm-apply-pressed");
    let mut operator = Operator::of(&machine, strict());
    // Only time passes.
    let without_time = |machine: &Machine| {
        let mut content = machine.content();
        content.retain(|path, _| !path.ends_with("proc/uptime") && !path.ends_with("proc/pressure/memory"));
        content
    };
    let before = without_time(&machine);
    let lines = operator.dry_run();
    assert!(lines[0].starts_with("vmtest-critical.service: set MemorySwapMax=0 (RAM is "), "{lines:#?}");
    assert!(lines.iter().any(|line| line.starts_with("vmtest-low.service: reclaim ")), "{lines:#?}");
    assert!(without_time(&machine) == before);
}

#[test]
fn what_is_critical_stays_in_ram_while_the_low_service_is_swapped() {
    let machine = Machine::of("vm-apply-pressed");
    let processes = machine.processes();
    let limits = [CRITICAL, LOW].map(|unit| machine.limits(unit));
    let before = machine.swapped(CRITICAL);
    let mut operator = Operator::of(&machine, strict());

    operator.apply_until("the critical service is kept out of swap", |machine| {
        is_kept_out_of_swap(machine, CRITICAL)
    });
    operator.apply_until("memory is taken from the low service", |machine| machine.swapped(LOW) > 4 * MIB);
    machine.press(330);
    assert_eq!(machine.swapped(CRITICAL), before);
    assert!(machine.swapped(LOW) > 20 * MIB, "{}", machine.swapped(LOW));
    assert_eq!((machine.oom_kills(), machine.processes()), (0, processes));

    assert!(lift_all(&mut operator.machine, &mut operator.measures).is_complete());
    assert_eq!([CRITICAL, LOW].map(|unit| machine.limits(unit)), limits);
    let again = lift_all(&mut operator.machine, &mut operator.measures);
    assert!(again.is_complete() && again.done.is_empty());
}

#[test]
fn without_it_the_critical_service_is_swapped_as_the_others_are() {
    let machine = Machine::of("vm-apply-pressed");
    let before = machine.swapped(CRITICAL);
    machine.press(330);
    assert!(machine.swapped(CRITICAL) > before + 20 * MIB, "{}", machine.swapped(CRITICAL));
    assert_eq!(machine.oom_kills(), 0);
}

#[test]
fn where_memory_is_not_short_nothing_is_done() {
    let machine = Machine::of("vm-apply-roomy");
    let limits = [CRITICAL, LOW].map(|unit| machine.limits(unit));
    let mut operator = Operator::of(&machine, super::configured());
    for _ in 0..5 {
        assert!(operator.apply().done.iter().all(|done| done.recommendation.action == Action::Advise));
    }
    assert_eq!([CRITICAL, LOW].map(|unit| machine.limits(unit)), limits);
    assert_eq!((machine.swapped(CRITICAL), machine.swapped(LOW)), (0, 0));
}

#[test]
fn its_protection_takes_effect_only_as_far_as_its_slice_grants_it_and_that_is_said() {
    let machine = Machine::of("vm-apply-pressed");
    let mut operator = Operator::of(&machine, strict());
    let protection = |operator: &mut Operator| {
        let done = operator.apply().done;
        let protection = done.into_iter().find(|done| done.recommendation.action == Action::Protect).unwrap();
        (protection.took_effect, protection.note)
    };
    let (took_effect, note) = protection(&mut operator);
    assert!(!took_effect && note.starts_with("system.slice grants only 0 bytes"), "{note}");
    assert!(lift_all(&mut operator.machine, &mut operator.measures).is_complete());

    operator.standing.clear();
    machine.protect_slice("system.slice", 300 * MIB);
    assert_eq!(protection(&mut operator), (true, String::new()));
    let low = machine.limits(CRITICAL).unwrap();
    let (_, low) = low.iter().find(|(file, _)| *file == "memory.low").unwrap();
    assert!(low.trim().parse::<u64>().unwrap() > 100_000_000, "{low}");
}

/// What the kernel did in the machine, where the same was done.
#[test]
fn the_machine_that_was_recorded_after_it_was_so() {
    let machine = Machine::of("vm-apply-kept");
    assert!(is_kept_out_of_swap(&machine, CRITICAL));
    assert_eq!(machine.swapped(CRITICAL), 0);
    assert!(machine.swapped(LOW) > 20 * MIB, "{}", machine.swapped(LOW));
}
