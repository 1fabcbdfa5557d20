//! Who may start when: what is kept for tests of which nothing is known, what others hold, and what does not fit at all.

use test_groups::admission::{Admission, Capacity, LEAST_MARGIN_BYTES, MOST_PASSES, Start, Why, with_margin};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn card(bytes: u64) -> Capacity {
    Capacity { card_bytes: bytes, used_by_others_bytes: 0, budget_bytes: None }
}

/// All that may start now.
fn starts(admission: &mut Admission) -> Vec<usize> {
    std::iter::from_fn(|| admission.start()).map(|start| start.test).collect()
}

#[test]
fn a_margin_is_kept_for_what_needs_the_card_and_none_for_what_does_not() {
    assert_eq!(with_margin(0), 0);
    assert_eq!(with_margin(1), 1 + LEAST_MARGIN_BYTES);
    assert_eq!(with_margin(20 * GIB), 21 * GIB);
    assert_eq!(with_margin(u64::MAX), u64::MAX);
}

#[test]
fn the_first_of_an_unknown_suite_runs_alone_and_the_others_by_what_it_needed() {
    let mut admission = Admission::new(card(8 * GIB), 16);
    (0..20).for_each(|test| admission.wait(test, None));
    assert_eq!(admission.start(), Some(Start { test: 0, reserved_bytes: 8 * GIB, why: Why::FirstAlone }));
    assert!(starts(&mut admission).is_empty(), "nothing runs beside the one that is measured");
    admission.saw(0, 2 * GIB);
    admission.ended(0, None);
    assert_eq!(starts(&mut admission), [1, 2, 3], "each is taken to need 2 GiB and a margin");
    // One turns out to be larger: what comes later is taken to be as large.
    admission.saw(1, 3 * GIB);
    (1..4).for_each(|test| admission.ended(test, Some(GIB)));
    assert_eq!(starts(&mut admission), [4, 5]);
}

#[test]
fn a_first_test_that_needs_nothing_does_not_let_all_others_start_at_once() {
    let mut admission = Admission::new(card(8 * GIB), 100);
    (0..20).for_each(|test| admission.wait(test, None));
    assert_eq!(admission.start().map(|start| start.why), Some(Why::FirstAlone));
    admission.ended(0, Some(0));
    assert_eq!(starts(&mut admission), (1..9).collect::<Vec<_>>(), "an eighth of the card for each");
}

#[test]
fn known_needs_say_what_an_unknown_one_is_taken_to_need() {
    let mut admission = Admission::new(card(8 * GIB), 16);
    admission.wait(0, Some(3 * GIB));
    admission.wait(1, None);
    admission.wait(2, None);
    assert_eq!(starts(&mut admission), [0, 1]);
    // A need that is larger than the card does not make all unknown ones wait for each other in vain.
    let mut admission = Admission::new(card(8 * GIB), 16);
    admission.wait(0, None);
    admission.wait(1, Some(100 * GIB));
    assert_eq!(admission.start(), Some(Start { test: 0, reserved_bytes: 8 * GIB, why: Why::Fits }));
}

#[test]
fn what_is_seen_beyond_the_need_and_what_others_hold_takes_from_what_is_left() {
    let mut admission = Admission::new(card(4 * GIB), 16);
    (0..3).for_each(|test| admission.wait(test, Some(GIB)));
    assert_eq!(admission.start().map(|start| start.test), Some(0));
    admission.saw(0, 3 * GIB);
    assert_eq!(admission.start(), None);
    admission.ended(0, None);
    admission.others_hold(2 * GIB);
    assert_eq!(starts(&mut admission), [1]);
    admission.others_hold(0);
    assert_eq!(starts(&mut admission), [2]);
}

#[test]
fn what_never_fits_runs_alone_and_says_so() {
    let capacity = Capacity { budget_bytes: Some(GIB), ..card(4 * GIB) };
    let mut admission = Admission::new(capacity, 16);
    admission.wait(0, Some(2 * GIB));
    admission.wait(1, Some(0));
    admission.wait(2, Some(0));
    assert_eq!(starts(&mut admission), [1, 2], "what needs nothing need not wait");
    admission.ended(1, None);
    assert_eq!(admission.start(), None, "something runs, and what waits does not fit beside it");
    admission.ended(2, None);
    let why = Why::TooLarge { available_bytes: GIB };
    assert_eq!(admission.start(), Some(Start { test: 0, reserved_bytes: GIB, why }));
    admission.wait(3, Some(0));
    assert_eq!(admission.start(), None);
    admission.ended(0, None);
    assert_eq!(starts(&mut admission), [3]);
}

#[test]
fn a_large_test_is_passed_eight_times_and_then_waited_for() {
    let mut admission = Admission::new(card(4 * GIB), 16);
    admission.wait(0, Some(GIB));
    admission.wait(1, Some(3 * GIB + 512 * MIB));
    (2..40).for_each(|test| admission.wait(test, Some(100 * MIB)));
    let first = starts(&mut admission);
    assert_eq!(first, [&[0_usize][..], &(2..2 + MOST_PASSES as usize).collect::<Vec<_>>()].concat());
    for test in first {
        admission.ended(test, None);
    }
    assert_eq!(starts(&mut admission)[0], 1);
}

#[test]
fn without_a_card_only_their_number_limits_how_many_run() {
    let mut admission = Admission::new(Capacity::unlimited(), 3);
    (0..5).for_each(|test| admission.wait(test, (test % 2 == 0).then_some(GIB)));
    assert_eq!(starts(&mut admission), [0, 1, 2]);
    assert_eq!((admission.running(), admission.waiting()), (3, 2));
    admission.ended(4, None);
    assert_eq!(admission.waiting(), 1, "one that waits may give up");
    let mut one = Admission::new(Capacity::unlimited(), 0);
    one.wait(0, None);
    one.wait(1, None);
    assert_eq!(starts(&mut one), [0]);
}
