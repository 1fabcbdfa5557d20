//! The daemon survives a service that dies while it is at work and a restart of the system bus; what it had set when it was
//! killed is taken back by the next, or by whoever removes it.

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use systemd_policy::Observer;
use systemd_policy::act::{Measures, lift_all};
use systemd_policy::monitor::{Monitor, Round};

use super::machine::{MIB, Machine};
use super::{CRITICAL, LOOK_APART, LOW, is_kept_out_of_swap, strict};

pub(super) type Daemon = Monitor<Observer, Machine>;

/// What the daemon says, for the test to read.
#[derive(Clone, Default)]
pub(super) struct Journal(Arc<Mutex<Vec<u8>>>);

impl Write for Journal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Journal {
    /// How many lines have this in them.
    fn count(&self, part: &str) -> usize {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(part)).count()
    }
}

/// As `omnimind memory daemon` begins, with its measures in a file of this directory.
pub(super) fn daemon(machine: &Machine, run: &Path) -> (Daemon, Journal) {
    let journal = Journal::default();
    let daemon = Monitor::new(strict(), machine.observer(), machine.clone());
    (daemon.keep_at(run.join("measures.json")).log_to(Box::new(journal.clone())), journal)
}

fn rounds(daemon: &mut Daemon, machine: &Machine, count: usize) -> Vec<Round> {
    let round = |_| {
        machine.pass(LOOK_APART);
        daemon.round().unwrap()
    };
    (0..count).map(round).collect()
}

fn could_not(rounds: &[Round]) -> Vec<&str> {
    rounds.iter().flat_map(|round| &round.applied.could_not).map(|could_not| &*could_not.reason).collect()
}

#[test]
fn it_survives_services_that_die_between_a_look_and_a_deed() {
    for unit in [CRITICAL, LOW] {
        // Deaths in a deed; after these, it is not touched any more.
        let deaths = (1..).map_while(|calls| dies_in_a_deed(unit, calls)).count();
        let expected = if unit == CRITICAL { 6 } else { 1 };
        assert!(deaths >= expected, "{unit} died in {deaths} deeds");
    }
}

/// `None` if the unit is not touched so often.
fn dies_in_a_deed(unit: &str, calls: u32) -> Option<()> {
    let (machine, run) = (Machine::of("vm-daemon-pressed"), tempfile::tempdir().unwrap());
    let (processes, limits) = (machine.processes(), [CRITICAL, LOW].map(|unit| machine.limits(unit)));
    let (mut daemon, _) = daemon(&machine, run.path());
    machine.dies_after(unit, calls);
    let rounds = rounds(&mut daemon, &machine, 8);
    if machine.awaits_a_death() {
        return None;
    }
    let gone = format!("{unit}: there is no such unit");
    let said: Vec<&str> = could_not(&rounds);
    assert!(said.len() == 1 && said[0].starts_with(&gone), "after {calls} calls: {said:?}");
    // All that was to be done for others in that round is done.
    let died = rounds.iter().find(|round| !round.applied.could_not.is_empty()).unwrap();
    let wanted = died.recommendations.iter().filter(|one| one.service != unit).count();
    let done = died.applied.done.iter().filter(|done| done.recommendation.service != unit).count();
    assert_eq!(done, wanted, "after {calls} calls");
    if unit == LOW {
        assert!(is_kept_out_of_swap(&machine, CRITICAL));
    } else {
        assert!(machine.swapped(LOW) > 4 * MIB);
    }
    assert!(daemon.end().is_complete());
    for (one, before) in [CRITICAL, LOW].into_iter().zip(limits) {
        assert_eq!(machine.limits(one), before.filter(|_| one != unit), "{one} after {calls} calls");
    }
    assert_eq!(processes.difference(&machine.processes()).count(), 1, "only the service that died");
    assert_eq!(Measures::read(&run.path().join("measures.json")).unwrap(), []);
    Some(())
}

#[test]
fn it_survives_a_restart_of_the_system_bus_and_acts_after_that() {
    let (machine, run) = (Machine::of("vm-daemon-pressed"), tempfile::tempdir().unwrap());
    let limits = [CRITICAL, LOW].map(|unit| machine.limits(unit));
    let (mut daemon, journal) = daemon(&machine, run.path());
    machine.set_bus_away(true);
    let without = rounds(&mut daemon, &machine, 5);
    assert!(
        could_not(&without)
            .iter()
            .all(|reason| reason.starts_with("asking systemd: the connection is closed"))
    );
    assert!(could_not(&without).len() >= 4, "{:?}", could_not(&without));
    assert_eq!([CRITICAL, LOW].map(|unit| machine.limits(unit)), limits);
    // Said once, and once more as an alert; not in each round.
    assert_eq!(journal.count("vmtest-critical.service: set MemorySwapMax=0"), 2);

    machine.set_bus_away(false);
    let with = rounds(&mut daemon, &machine, 5);
    assert_eq!(could_not(&with), Vec::<&str>::new());
    assert!(is_kept_out_of_swap(&machine, CRITICAL));
    assert!(machine.swapped(LOW) > 4 * MIB, "{}", machine.swapped(LOW));
    assert!(daemon.end().is_complete());
    assert_eq!([CRITICAL, LOW].map(|unit| machine.limits(unit)), limits);
}

#[test]
fn what_a_daemon_that_was_killed_had_set_stands_until_the_next_one_ends() {
    let (machine, run) = (Machine::of("vm-daemon-pressed"), tempfile::tempdir().unwrap());
    let limits = [CRITICAL, LOW].map(|unit| machine.limits(unit));
    let (mut killed, _) = daemon(&machine, run.path());
    rounds(&mut killed, &machine, 6);
    drop(killed);
    assert!(is_kept_out_of_swap(&machine, CRITICAL));
    let set = [CRITICAL, LOW].map(|unit| machine.limits(unit));
    assert!(set[0] != limits[0], "{set:?}");

    let (mut next, journal) = daemon(&machine, run.path());
    rounds(&mut next, &machine, 1);
    assert_eq!([CRITICAL, LOW].map(|unit| machine.limits(unit)), set, "one look alone changes nothing");
    rounds(&mut next, &machine, 3);
    assert!(is_kept_out_of_swap(&machine, CRITICAL));
    // It was so already.
    assert_eq!(journal.count("vmtest-critical.service: set MemorySwapMax=0"), 0);
    assert!(next.end().is_complete());
    assert_eq!([CRITICAL, LOW].map(|unit| machine.limits(unit)), limits);
}

#[test]
fn removing_it_takes_back_what_a_killed_one_had_set() {
    let (mut machine, run) = (Machine::of("vm-daemon-pressed"), tempfile::tempdir().unwrap());
    let limits = [CRITICAL, LOW].map(|unit| machine.limits(unit));
    let (mut killed, _) = daemon(&machine, run.path());
    rounds(&mut killed, &machine, 6);
    drop(killed);
    let mut measures = Measures::open(&run.path().join("measures.json")).unwrap();
    assert!(measures.standing().len() >= 2, "{measures:?}");
    assert!(lift_all(&mut machine, &mut measures).is_complete());
    assert_eq!([CRITICAL, LOW].map(|unit| machine.limits(unit)), limits);
}

#[test]
fn after_one_look_it_does_nothing_and_when_the_pressure_ends_it_lifts_all() {
    let (machine, run) = (Machine::of("vm-daemon-pressed"), tempfile::tempdir().unwrap());
    let limits = [CRITICAL, LOW].map(|unit| machine.limits(unit));
    let (mut daemon, _) = daemon(&machine, run.path());
    machine.press(200);
    let first = rounds(&mut daemon, &machine, 1);
    assert_eq!(first[0].recommendations, [], "one look alone calls for nothing");
    rounds(&mut daemon, &machine, 6);
    assert!(is_kept_out_of_swap(&machine, CRITICAL));
    machine.ease();
    machine.end("vmtest-pressure.service");
    rounds(&mut daemon, &machine, 60);
    assert_eq!([CRITICAL, LOW].map(|unit| machine.limits(unit)), limits);
    drop(daemon);
    assert_eq!(Measures::read(&run.path().join("measures.json")).unwrap(), []);
}
