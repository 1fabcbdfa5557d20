use super::*;
use crate::oom::{ProcessUse, Source, recognise};

const MIB: u64 = 1 << 20;

fn message(numbers: Numbers) -> Message {
    Message { source: Source::PyTorch, numbers, says_fragmented: false }
}

fn numbers(requested: u64, total: u64, free: u64, allocated: u64, reserved: u64) -> Numbers {
    Numbers {
        requested_bytes: Some(requested * MIB),
        total_bytes: Some(total * MIB),
        free_bytes: Some(free * MIB),
        allocated_bytes: Some(allocated * MIB),
        reserved_bytes: Some(reserved * MIB),
        reserved_unallocated_bytes: Some(reserved.saturating_sub(allocated) * MIB),
        ..Numbers::default()
    }
}

fn cause(numbers: Numbers) -> Cause {
    diagnose(&message(numbers), None, &Thresholds::default()).cause
}

fn with_others(mut numbers: Numbers, others: u64) -> Numbers {
    numbers.others.push(ProcessUse { pid: 1, name: None, bytes: Some(others * MIB) });
    numbers
}

#[test]
fn each_cause_is_told_from_the_numbers_of_one_message() {
    use Cause::*;
    for (numbers, expected) in [
        (numbers(5_000, 4_000, 3_500, 0, 0), OneAllocationTooLarge),
        (numbers(3_700, 4_000, 3_500, 0, 0), OneAllocationTooLarge),
        (numbers(20, 4_000, 10, 2_900, 3_020), Fragmentation),
        (numbers(20, 4_000, 500, 2_900, 2_905), Fragmentation),
        (with_others(numbers(500, 4_000, 20, 1_000, 1_000), 2_500), CompetingProcesses),
        // Nobody is named, and 2,800 of 4,000 are neither free nor its own.
        (numbers(500, 4_000, 200, 500, 500), CompetingProcesses),
        // Others hold a lot, and it would not have fitted without them, either.
        (with_others(numbers(3_000, 4_000, 20, 2_200, 2_200), 1_500), CardTooSmall),
        (numbers(500, 4_000, 50, 3_600, 3_700), CardTooSmall),
        (with_others(numbers(100, 4_000, 50, 3_600, 3_600), 200), CardTooSmall),
        (Numbers { requested_bytes: Some(5), ..Numbers::default() }, Unknown),
        (Numbers::default(), Unknown),
    ] {
        assert_eq!(cause(numbers.clone()), expected, "{numbers:?}");
    }
}

#[test]
fn growth_over_the_run_is_accumulation_only_for_those_who_gathered() {
    let growth = Growth { bytes: 2_000 * MIB, tests: 500, steadiness: 0.9, last_bytes: 3_600 * MIB };
    let of =
        |numbers: Numbers, growth| diagnose(&message(numbers), Some(&growth), &Thresholds::default()).cause;
    assert_eq!(of(numbers(500, 4_000, 50, 3_600, 3_700), growth), Cause::Accumulation);
    assert_eq!(of(numbers(500, 4_000, 200, 500, 500), growth), Cause::CompetingProcesses);
    for weak in [Growth { bytes: 100 * MIB, ..growth }, Growth { steadiness: 0.5, ..growth }] {
        assert_eq!(of(numbers(500, 4_000, 50, 3_600, 3_700), weak), Cause::CardTooSmall);
    }
}

#[test]
fn main_memory_is_not_taken_for_the_card() {
    let killed = recognise("Out of memory: Killed process 42 (python) total-vm:9kB").unwrap();
    let diagnosis = diagnose(&killed, None, &Thresholds::default());
    assert_eq!(
        (diagnosis.cause, diagnosis.reason.as_str()),
        (Cause::HostMemory, "the kernel killed process 42")
    );
}

#[test]
fn thresholds_that_make_no_sense_are_refused() {
    assert!(Thresholds::default().validated().is_ok());
    for share in [0.0, -1.0, 1.01, f64::NAN] {
        assert!(Thresholds { others_share: share, ..Thresholds::default() }.validated().is_err());
    }
}
