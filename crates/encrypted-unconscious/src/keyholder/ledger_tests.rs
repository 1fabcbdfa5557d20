//! What must hold of the ledger, whatever is asked, whatever the clocks do, and however the process ends.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use proptest::prelude::*;

use super::{
    audit::{self, AuditLog, Caller, Deed, Kind, Record},
    budget::{Allowance, BudgetConfig},
    clock::tests::SetClock,
    ledger::Ledger,
    snapshot, *,
};

const DAY: Duration = Duration::from_hours(24);
const CALLER: Caller = Caller { uid: 7, pid: 70 };

fn config() -> BudgetConfig {
    BudgetConfig {
        memory: Allowance { capacity: 20, per_day: 5 },
        everyone: Allowance { capacity: 30, per_day: 10 },
        caller: Allowance { capacity: 60, per_day: 50 },
        ..BudgetConfig::default()
    }
}

fn open(folder: &Path, clock: &SetClock) -> Result<Ledger, KeyholderError> {
    Ledger::open(folder, config(), Box::new(clock.clone()))
}

/// Asks for units of a memory: whether they were there.
fn ask(ledger: &mut Ledger, memory: u8, units: u64) -> bool {
    let asked = ledger.transact(|budgets, stand| {
        let refuse = |again_in| KeyholderError::Refused(Refusal::OverBudget { again_in });
        budgets.afford_memory(&[memory; 32], stand, units).map_err(refuse)?;
        let mut record = Record::new(CALLER, Kind::Answer);
        record.charge([memory; 32], units);
        budgets.afford_caller(CALLER.uid, stand, record.caller).map_err(refuse)?;
        Ok((record, ()))
    });
    match asked {
        Ok(()) => true,
        Err(KeyholderError::Refused(_)) => false,
        Err(error) => panic!("{error}"),
    }
}

fn settle(ledger: &mut Ledger) {
    if let Some(settlement) = ledger.settle(true).unwrap() {
        settlement.carry_out().unwrap();
    }
}

fn log_of(folder: &Path) -> Vec<u8> {
    fs::read(folder.join(audit::FILE)).unwrap()
}

fn is_damaged<T>(result: &Result<T, KeyholderError>) -> bool {
    matches!(result, Err(KeyholderError::LedgerDamaged { .. }))
}

/// A folder with a log of `records` records and no snapshot.
fn written(records: u64) -> (tempfile::TempDir, SetClock) {
    let folder = tempfile::tempdir().unwrap();
    let clock = SetClock::new();
    let mut ledger = open(folder.path(), &clock).unwrap();
    for number in 0..records {
        assert!(ask(&mut ledger, number as u8, 1));
        clock.pass(Duration::from_mins(1));
    }
    (folder, clock)
}

#[derive(Debug, Clone)]
enum Act {
    Ask { memory: u8, units: u64 },
    Pass(Duration),
    SetWall(u64),
    BackSinceBoot(Duration),
    Reboot { off: Duration },
    Restart { snapshot: bool },
    Note,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (0u8..4, 1u64..18).prop_map(|(memory, units)| Act::Ask { memory, units }),
        4 => (0u64..100_000_000).prop_map(|millis| Act::Pass(Duration::from_millis(millis))),
        1 => (0u64..4_000_000_000_000).prop_map(Act::SetWall),
        1 => (0u64..10_000_000).prop_map(|millis| Act::BackSinceBoot(Duration::from_millis(millis))),
        1 => (0u64..400_000_000).prop_map(|millis| Act::Reboot { off: Duration::from_millis(millis) }),
        2 => any::<bool>().prop_map(|snapshot| Act::Restart { snapshot }),
        1 => Just(Act::Note),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn never_more_is_given_away_than_time_and_reboots_allow(acts in prop::collection::vec(act(), 1..80)) {
        let folder = tempfile::tempdir().unwrap();
        let clock = SetClock::new();
        let mut ledger = open(folder.path(), &clock).unwrap();
        // The reference: all that can have come back is what passed, and a day for each reboot.
        let mut most_passed = Duration::ZERO;
        let mut given = HashMap::<u8, u64>::new();
        let mut boots = 0;
        for act in acts {
            match act {
                Act::Ask { memory, units } => {
                    if ask(&mut ledger, memory, units) {
                        *given.entry(memory).or_default() += units;
                        let most = 20.0 + 5.0 * most_passed.as_secs_f64() / DAY.as_secs_f64();
                        prop_assert!(given[&memory] as f64 <= most + 1e-6, "{given:?} {most}");
                        let most = 60.0 + 50.0 * most_passed.as_secs_f64() / DAY.as_secs_f64();
                        prop_assert!(given.values().sum::<u64>() as f64 <= most + 1e-6, "{given:?} {most}");
                    }
                }
                Act::Pass(time) => {
                    clock.pass(time);
                    most_passed += time;
                }
                Act::SetWall(millis) => clock.change(|now| {
                    now.wall = std::time::UNIX_EPOCH + Duration::from_millis(millis);
                }),
                Act::BackSinceBoot(time) => {
                    clock.change(|now| now.since_boot = now.since_boot.saturating_sub(time));
                }
                Act::Reboot { off } => {
                    boots += 1;
                    clock.change(|now| {
                        now.boot_id = format!("boot {boots}");
                        now.since_boot = Duration::ZERO;
                        now.wall += off;
                    });
                    most_passed += DAY;
                }
                Act::Restart { snapshot } => {
                    if snapshot {
                        settle(&mut ledger);
                    }
                    let before = ledger.budgets().clone();
                    drop(ledger);
                    ledger = open(folder.path(), &clock).unwrap();
                    prop_assert_eq!(ledger.budgets(), &before);
                    fs::remove_file(folder.path().join(snapshot::FILE)).ok();
                    drop(ledger);
                    ledger = open(folder.path(), &clock).unwrap();
                    prop_assert_eq!(ledger.budgets(), &before, "from the log alone");
                }
                Act::Note => ledger.note(Record::of(CALLER, Deed::Served)).unwrap(),
            }
        }
        drop(ledger);
        audit::verify(folder.path()).unwrap();
    }

    #[test]
    fn a_changed_byte_anywhere_stops_every_answer(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let (folder, clock) = written(4);
        let mut log = log_of(folder.path());
        let at = at.index(log.len());
        prop_assume!(log[at] != byte);
        log[at] = byte;
        fs::write(folder.path().join(audit::FILE), &log).unwrap();
        prop_assert!(is_damaged(&open(folder.path(), &clock)), "byte {} of {}", at, log.len());
        prop_assert!(is_damaged(&audit::verify(folder.path())));
        prop_assert!(is_damaged(&AuditLog::append_deed(folder.path(), CALLER, Deed::Served)));
        prop_assert_eq!(log_of(folder.path()), log, "nothing is repaired");
    }

    #[test]
    fn a_log_that_was_cut_while_it_was_written_loses_its_last_line_only(cut in any::<prop::sample::Index>()) {
        let (folder, clock) = written(3);
        let log = log_of(folder.path());
        let last = log[..log.len() - 1].iter().rposition(|&byte| byte == b'\n').unwrap() + 1;
        let end = last + cut.index(log.len() - last);
        fs::write(folder.path().join(audit::FILE), &log[..end]).unwrap();
        prop_assert_eq!(audit::verify(folder.path()).unwrap().records, 2);
        let ledger = open(folder.path(), &clock).unwrap();
        // Where only the newline is missing, the record is whole, and counts.
        let records = if end == log.len() - 1 { 3 } else { 2 };
        prop_assert_eq!(ledger.records(), records);
        drop(ledger);
        prop_assert_eq!(audit::verify(folder.path()).unwrap().records, records);
        prop_assert!(log.starts_with(&log_of(folder.path())));
    }
}

#[test]
fn a_line_that_is_missing_moved_or_doubled_stops_every_answer() {
    let (folder, clock) = written(4);
    let log = log_of(folder.path());
    let lines: Vec<&[u8]> = log.split_inclusive(|&byte| byte == b'\n').collect();
    for order in [
        &[1, 2, 3][..],
        &[0, 2, 3],
        &[0, 1, 3],
        &[1, 0, 2, 3],
        &[0, 1, 3, 2],
        &[0, 0, 1, 2, 3],
        &[0, 1, 2, 3, 3],
    ] {
        let changed: Vec<u8> = order.iter().flat_map(|&line| lines[line].to_vec()).collect();
        fs::write(folder.path().join(audit::FILE), changed).unwrap();
        assert!(is_damaged(&open(folder.path(), &clock)), "{order:?}");
        assert!(is_damaged(&audit::verify(folder.path())), "{order:?}");
    }
}

#[test]
fn lines_missing_at_the_end_show_by_the_snapshot_and_so_does_a_log_that_is_gone_or_another() {
    let (folder, clock) = written(3);
    let path = folder.path().join(audit::FILE);
    settle(&mut open(folder.path(), &clock).unwrap());
    let log = log_of(folder.path());
    let last = log[..log.len() - 1].iter().rposition(|&byte| byte == b'\n').unwrap() + 1;
    fs::write(&path, &log[..last]).unwrap();
    let error = open(folder.path(), &clock).unwrap_err();
    assert!(error.to_string().contains("its end is missing"), "{error}");
    assert!(is_damaged(&audit::verify(folder.path())));
    fs::write(&path, b"").unwrap();
    assert!(is_damaged(&open(folder.path(), &clock)));
    fs::remove_file(&path).unwrap();
    assert!(is_damaged(&open(folder.path(), &clock)));
    assert!(is_damaged(&AuditLog::append_deed(folder.path(), CALLER, Deed::Served)));
    assert!(!path.exists(), "it is not begun anew");
    let (other, _) = written(5);
    fs::copy(other.path().join(audit::FILE), &path).unwrap();
    // Two logs are alike only if all was alike, clocks included: here the other one goes on.
    let mut one = open(other.path(), &clock).unwrap();
    assert!(ask(&mut one, 9, 2));
    drop(one);
    let changed = {
        let other = tempfile::tempdir().unwrap();
        let mut ledger = open(other.path(), &clock).unwrap();
        for memory in 0..3 {
            assert!(ask(&mut ledger, memory + 40, 1));
        }
        drop(ledger);
        log_of(other.path())
    };
    fs::write(&path, changed).unwrap();
    let error = open(folder.path(), &clock).unwrap_err();
    assert!(error.to_string().contains("was replaced"), "{error}");
}

#[test]
fn a_damaged_snapshot_is_of_no_use_and_nothing_is_lost() {
    let (folder, clock) = written(3);
    let before = open(folder.path(), &clock).unwrap().budgets().clone();
    settle(&mut open(folder.path(), &clock).unwrap());
    let path = folder.path().join(snapshot::FILE);
    let snapshot = fs::read(&path).unwrap();
    for at in (0..snapshot.len()).step_by(7) {
        let mut changed = snapshot.clone();
        changed[at] ^= 1;
        fs::write(&path, &changed).unwrap();
        assert_eq!(open(folder.path(), &clock).unwrap().budgets(), &before, "byte {at}");
    }
}

#[test]
fn another_process_writes_into_the_log_while_it_is_open() {
    let (folder, clock) = written(2);
    let mut ledger = open(folder.path(), &clock).unwrap();
    let deed = Deed::Disclosed { memory: [3; 32] };
    AuditLog::append_deed(folder.path(), Caller { uid: 1, pid: 2 }, deed).unwrap();
    assert!(ask(&mut ledger, 1, 5));
    assert_eq!(ledger.records(), 4);
    let report = audit::verify(folder.path()).unwrap();
    assert_eq!((report.records, report.head), (4, ledger.head()));
    assert!(report.first <= report.last && report.unfinished_bytes == 0);
    let text = String::from_utf8(log_of(folder.path())).unwrap();
    assert!(text.contains(r#""deed":"disclose""#) && text.contains(&"03".repeat(32)));
    // Cut while it is open.
    fs::write(folder.path().join(audit::FILE), &text.as_bytes()[..100]).unwrap();
    assert!(is_damaged(&ledger.note(Record::of(CALLER, Deed::Stopped))));
}

#[test]
fn what_costs_nothing_fills_no_disk_and_is_counted() {
    let (folder, clock) = written(0);
    let mut ledger = open(folder.path(), &clock).unwrap();
    for _ in 0..1000 {
        ledger.note(Record::of(CALLER, Deed::Refused { reason: "x".repeat(5000) })).unwrap();
    }
    clock.pass(Duration::from_secs(1));
    ledger.note(Record::of(CALLER, Deed::Refused { reason: "again".to_owned() })).unwrap();
    assert_eq!(ledger.records(), 2);
    let text = String::from_utf8(log_of(folder.path())).unwrap();
    assert!(text.contains(r#""unlogged":999"#) && text.len() < 2500, "{text}");
    assert!(!text.contains(r#""memories""#));
}

#[test]
fn threads_that_ask_for_one_memory_at_once_never_get_more_than_there_is() {
    let (folder, clock) = written(0);
    let ledger = Arc::new(Mutex::new(open(folder.path(), &clock).unwrap()));
    let given: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| (0..20).filter(|_| ask(&mut ledger.lock().unwrap(), 1, 3)).count() as u64 * 3)
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(given, 18, "of 20");
}

#[cfg(unix)]
#[test]
fn files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, clock) = written(1);
    let path = folder.path().join(audit::FILE);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    settle(&mut open(folder.path(), &clock).unwrap());
    for file in [path, folder.path().join(snapshot::FILE)] {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
}
