//! What must hold of answers: charged before they are given, coarse, and for nothing only if they say nothing new.

use std::{path::Path, time::Duration};

use super::{clock::tests::SetClock, *};
use crate::{Identity, Sealer};

const CALLER: Caller = Caller { uid: 7, pid: 70 };

struct Place {
    folder: tempfile::TempDir,
    clock: SetClock,
    secret: std::path::PathBuf,
    sealer: Sealer,
    config: CustodyConfig,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("key");
        let identity = Identity::generate();
        identity.write_new(&secret).unwrap();
        let config = CustodyConfig {
            budget: BudgetConfig {
                memory: Allowance { capacity: 40, per_day: 24 },
                everyone: Allowance { capacity: 32, per_day: 16 },
                caller: Allowance { capacity: 2000, per_day: 2000 },
                price_of_sum: 16,
                ..BudgetConfig::default()
            },
            rounding: Rounding { sum_step: 0.125, ..Rounding::default() },
            most_signatures: 100,
        };
        let sealer = Sealer::new(identity.recipient());
        Self { folder, clock: SetClock::new(), secret, sealer, config }
    }

    fn state_dir(&self) -> std::path::PathBuf {
        self.folder.path().join("state")
    }

    fn try_open(&self) -> Result<Custody, KeyholderError> {
        let keys = vec![Identity::load(&self.secret).unwrap()];
        Custody::open_with_clock(&self.state_dir(), keys, self.config.clone(), Box::new(self.clock.clone()))
    }

    fn open(&self) -> Custody {
        self.try_open().unwrap()
    }

    fn encrypt(&self, name: u8, vector: &[f32]) -> EncryptedSignature {
        self.sealer.encrypt_signature([name; 32], vector).unwrap()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.state_dir().join("audit.jsonl")).unwrap()
    }
}

fn query(vector: &[f32]) -> Query {
    Query::new(vector).unwrap()
}

/// A different question each time, nearly along the first axis.
fn along(number: u16) -> Query {
    query(&[1.0, f32::from(number) / 1000.0])
}

/// A different question each time, nearly along the second axis.
fn across(number: u16) -> Query {
    query(&[f32::from(number) / 1000.0, 1.0])
}

fn refusal(answer: &Answer) -> String {
    match answer {
        Answer::Refused(refusal) => refusal.to_string(),
        Answer::AtLeast(level) => panic!("at least {level}"),
    }
}

fn step(from: u64, to: u64, admitted: &[EncryptedSignature]) -> Step<'_> {
    Step { from, to, admitted, forgotten: &[] }
}

#[test]
fn answers_are_coarse_cost_what_they_say_and_end_with_the_budget() {
    let place = Place::new();
    let custody = place.open();
    let memory = [place.encrypt(1, &[1.0, 0.0])];
    // 40: silence costs 1, a level 16.
    assert_eq!(custody.influence(CALLER, &across(0), &memory).unwrap(), [Answer::AtLeast(0.0)]);
    assert_eq!(custody.influence(CALLER, &query(&[0.6, 0.8]), &memory).unwrap(), [Answer::AtLeast(0.5)]);
    assert_eq!(custody.influence(CALLER, &along(0), &memory).unwrap(), [Answer::AtLeast(0.75)]);
    // 7 left: less than what an answer could cost, so that a refusal says nothing.
    for question in [across(1), along(1)] {
        let answers = custody.influence(CALLER, &question, &memory).unwrap();
        assert!(refusal(&answers[0]).contains("ask again in 9 h"), "{answers:?}");
    }
    let error = custody.influence_of_set(CALLER, &along(2), &memory).unwrap_err();
    assert!(matches!(error, KeyholderError::Refused(Refusal::OverBudget { .. })));
    let status = custody.status().unwrap();
    assert_eq!((status.memories_asked, status.memories_over_budget), (1, 1));
    place.clock.pass(Duration::from_hours(9));
    assert_eq!(custody.status().unwrap().memories_over_budget, 0);
    assert_eq!(custody.influence(CALLER, &across(1), &memory).unwrap(), [Answer::AtLeast(0.0)]);
}

#[test]
fn asking_the_same_again_is_free_for_everybody_and_twice_in_one_question_is_once() {
    let place = Place::new();
    let custody = place.open();
    let memory = place.encrypt(1, &[1.0, 0.0]);
    let twice = [memory.clone(), memory.clone()];
    for uid in 0..50 {
        let caller = Caller { uid, pid: 1 };
        let answers = custody.influence(caller, &along(0), &twice).unwrap();
        assert_eq!(answers, [Answer::AtLeast(0.75), Answer::AtLeast(0.75)]);
    }
    // 24 left.
    assert_eq!(custody.influence(CALLER, &along(1), &twice).unwrap()[1], Answer::AtLeast(0.75));
    assert!(matches!(custody.influence(CALLER, &along(2), &twice).unwrap()[0], Answer::Refused(_)));
    // The same memory under another ciphertext has the same budget, within one question, too.
    let other = [place.encrypt(2, &[1.0, 0.0]), place.encrypt(2, &[1.0, 0.0]), place.encrypt(2, &[1.0, 0.0])];
    let answers = custody.influence(CALLER, &along(3), &other).unwrap();
    assert!(
        matches!(answers[..], [Answer::AtLeast(_), Answer::AtLeast(_), Answer::Refused(_)]),
        "{answers:?}"
    );
}

#[test]
fn a_restart_gives_nothing_back_and_neither_does_a_clock_that_is_set() {
    let mut place = Place::new();
    place.config.budget.memory.per_day = 8;
    let memory = [place.encrypt(1, &[1.0, 0.0])];
    let is_refused = |custody: &Custody, number| {
        matches!(custody.influence(CALLER, &along(number), &memory).unwrap()[0], Answer::Refused(_))
    };
    let custody = place.open();
    assert!(!is_refused(&custody, 0) && !is_refused(&custody, 1) && is_refused(&custody, 2));
    drop(custody);
    for day in [400, 0, 800] {
        place.clock.change(|now| now.wall = std::time::UNIX_EPOCH + Duration::from_hours(24 * day));
        assert!(is_refused(&place.open(), 3), "day {day}");
    }
    place.clock.change(|now| now.boot_id = "second".to_owned());
    place.clock.pass(Duration::from_hours(24 * 800));
    let custody = place.open();
    assert!(!is_refused(&custody, 4), "8 were left, and a day brings 8");
    assert!(is_refused(&custody, 5), "and a reboot no more than a day");
}

#[test]
fn what_cannot_be_used_is_refused_for_its_reason_and_the_rest_is_answered() {
    let place = Place::new();
    let custody = place.open();
    let foreign =
        Sealer::new(Identity::generate().recipient()).encrypt_signature([2; 32], &[1.0, 0.0]).unwrap();
    let mut bytes = place.encrypt(3, &[1.0, 0.0]).to_bytes();
    *bytes.last_mut().unwrap() ^= 1;
    let changed = EncryptedSignature::from_bytes(&bytes).unwrap();
    let other = place.encrypt(4, &[1.0, 0.0, 0.0]);
    let good = place.encrypt(5, &[1.0, 0.0]);
    let asked = [foreign, changed, other, good];
    let answers = custody.influence(CALLER, &along(0), &asked).unwrap();
    assert!(refusal(&answers[0]).contains("cannot be opened"), "{answers:?}");
    assert!(refusal(&answers[1]).contains("was changed"), "{answers:?}");
    assert!(refusal(&answers[2]).contains("has 2 dimensions and the signature 3"), "{answers:?}");
    assert_eq!(answers[3], Answer::AtLeast(0.75));
    for bad in &asked[..3] {
        let set = [bad.clone(), asked[3].clone()];
        let error = custody.influence_of_set(CALLER, &along(1), &set).unwrap_err();
        assert!(matches!(error, KeyholderError::Refused(Refusal::Unusable { .. })), "{error}");
    }
    assert_eq!(custody.status().unwrap().memories_asked, 1);
    let log = place.log();
    assert!(log.contains(r#""refused":3"#) && log.contains(&"05".repeat(32)), "{log}");
    assert!(!log.contains(&"04".repeat(32)));
}

#[test]
fn a_set_is_charged_to_every_member_or_to_none_and_names_each_once() {
    let place = Place::new();
    let custody = place.open();
    let (one, two) = (place.encrypt(1, &[1.0, 0.0]), place.encrypt(2, &[0.0, 1.0]));
    let set = [one.clone(), two.clone()];
    let answer = custody.influence_of_set(CALLER, &query(&[0.6, 0.8]), &set).unwrap();
    assert_eq!(answer, SumAnswer { sum: 1.375, members: 2 });
    let turned = [two.clone(), one.clone()];
    assert_eq!(custody.influence_of_set(CALLER, &query(&[0.6, 0.8]), &turned).unwrap(), answer);
    assert!(matches!(
        custody.influence_of_set(CALLER, &along(0), &[one.clone(), place.encrypt(1, &[1.0, 0.0])]),
        Err(KeyholderError::Question(crate::InfluenceError::Twice))
    ));
    assert!(matches!(
        custody.influence_of_set(CALLER, &along(0), &[]),
        Err(KeyholderError::Question(crate::InfluenceError::Nothing))
    ));
    // 24 left of each; the first is used up.
    assert_eq!(custody.influence(CALLER, &along(1), &[one]).unwrap(), [Answer::AtLeast(0.75)]);
    assert!(custody.influence_of_set(CALLER, &along(2), &set).is_err());
    assert_eq!(custody.influence(CALLER, &across(3), &[two]).unwrap(), [Answer::AtLeast(0.75)]);
}

#[test]
fn sums_of_a_store_are_the_sums_of_its_memories_and_follow_it() {
    let place = Place::new();
    let custody = place.open();
    let (store, other) = ([1; 32], [2; 32]);
    let memories: Vec<_> = (0..6).map(|name| place.encrypt(name, &[0.6, 0.8])).collect();
    let longer = place.encrypt(9, &[1.0, 0.0, 0.0]);
    let foreign = Sealer::new(Identity::generate().recipient()).encrypt_signature([8; 32], &[1.0]).unwrap();
    assert_eq!(custody.followed(&store).unwrap(), Followed::default());
    custody.follow(CALLER, &store, step(0, 5, &memories[..3])).unwrap();
    let error = custody.follow(CALLER, &store, step(4, 6, &memories)).unwrap_err();
    assert!(matches!(error, KeyholderError::OutOfStep { position: 5, from: 4 }));
    assert!(custody.follow(CALLER, &store, step(5, 4, &[])).is_err());
    let forgotten = Step { forgotten: &[[7; 32], [2; 32]], ..step(5, 6, &memories) };
    let error = custody.follow(CALLER, &store, forgotten).unwrap_err();
    assert!(matches!(error, KeyholderError::OutOfStep { position: 5, from: 5 }), "a member was forgotten");
    assert_eq!(custody.followed(&store).unwrap(), Followed { position: 5, members: 3 });
    // Two are there already, one is of another keyholder, one of another length.
    let more = [&memories[1..4], &[longer, foreign]].concat();
    let others = Step { forgotten: &[[7; 32]], ..step(5, 9, &more) };
    custody.follow(CALLER, &store, others).unwrap();
    assert_eq!(custody.followed(&store).unwrap(), Followed { position: 9, members: 5 });
    let all = |custody: &Custody, query: &Query| custody.influence_of_all(CALLER, query, &store);
    assert_eq!(all(&custody, &query(&[1.0, 0.0])).unwrap(), SumAnswer { sum: 2.375, members: 4 });
    assert_eq!(all(&custody, &query(&[1.0, 0.0, 0.0])).unwrap(), SumAnswer { sum: 1.0, members: 1 });
    assert!(matches!(
        custody.influence_of_all(CALLER, &along(0), &other),
        Err(KeyholderError::Question(crate::InfluenceError::Nothing))
    ));
    // The same again is free; anything else is not, of whatever store.
    assert_eq!(all(&custody, &query(&[1.0, 0.0])).unwrap().members, 4);
    custody.follow(CALLER, &other, step(0, 1, &memories)).unwrap();
    let error = custody.influence_of_all(CALLER, &along(0), &other).unwrap_err();
    assert!(matches!(error, KeyholderError::Refused(Refusal::OverBudget { .. })), "{error}");
    assert_eq!(custody.status().unwrap().members, 11);

    drop(custody);
    let custody = place.open();
    assert_eq!(custody.followed(&store).unwrap(), Followed { position: 9, members: 5 });
    place.clock.pass(Duration::from_hours(24));
    assert_eq!(all(&custody, &query(&[1.0, 0.0])).unwrap(), SumAnswer { sum: 2.375, members: 4 });
    custody.follow(CALLER, &store, step(0, 2, &memories[5..])).unwrap();
    assert_eq!(custody.followed(&store).unwrap(), Followed { position: 2, members: 1 });
    place.clock.pass(Duration::from_hours(24));
    assert_eq!(all(&custody, &query(&[1.0, 0.0])).unwrap(), SumAnswer { sum: 0.625, members: 1 });
}

#[test]
fn sums_that_cannot_be_read_begin_anew() {
    let place = Place::new();
    let memories = [place.encrypt(1, &[1.0, 0.0])];
    place.open().follow(CALLER, &[1; 32], step(0, 5, &memories)).unwrap();
    let path = place.state_dir().join("sums.age");
    let whole = std::fs::read(&path).unwrap();
    assert_eq!(place.open().followed(&[1; 32]).unwrap().members, 1);
    for at in (0..whole.len()).step_by(whole.len() / 40) {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        std::fs::write(&path, &changed).unwrap();
        assert_eq!(place.open().followed(&[1; 32]).unwrap(), Followed::default(), "byte {at}");
        std::fs::write(&path, &whole[..at]).unwrap();
        assert_eq!(place.open().followed(&[1; 32]).unwrap(), Followed::default(), "{at} bytes");
    }
}

#[test]
fn a_caller_who_asks_too_much_waits_and_others_do_not() {
    let mut place = Place::new();
    place.config.budget.caller = Allowance { capacity: 64, per_day: 24 };
    place.config.most_signatures = 4;
    let custody = place.open();
    let memories: Vec<_> = (0..5).map(|name| place.encrypt(name, &[1.0, 0.0])).collect();
    let error = custody.influence(CALLER, &along(0), &memories).unwrap_err();
    assert!(matches!(error, KeyholderError::TooMany { asked: 5, most: 4 }));
    custody.influence(CALLER, &along(0), &memories[..4]).unwrap();
    // In a second of its own, so that it is logged.
    place.clock.pass(Duration::from_secs(1));
    let error = custody.influence(CALLER, &across(0), &memories[..1]).unwrap_err();
    assert!(matches!(error, KeyholderError::CallerOverBudget { uid: 7, .. }), "{error}");
    assert!(custody.influence(CALLER, &along(0), &memories[..4]).is_ok(), "what is known is free");
    let other = Caller { uid: 8, pid: 70 };
    assert_eq!(custody.influence(other, &across(0), &memories[..1]).unwrap(), [Answer::AtLeast(0.0)]);
    assert!(place.log().contains("asked too much"));
}

#[test]
fn a_key_that_is_exchanged_while_it_is_served_answers_about_old_and_new() {
    let place = Place::new();
    let custody = place.open();
    let (old, query) = (place.encrypt(1, &[1.0, 0.0]), along(0));
    let new = Identity::generate();
    let new_one = Sealer::new(new.recipient()).encrypt_signature([2; 32], &[1.0, 0.0]).unwrap();
    let asked = [old, new_one];
    let answers = custody.influence(CALLER, &query, &asked).unwrap();
    assert!(matches!(answers[..], [Answer::AtLeast(_), Answer::Refused(_)]), "{answers:?}");
    custody.replace_keys(vec![new, Identity::load(&place.secret).unwrap()]).unwrap();
    let answers = custody.influence(CALLER, &query, &asked).unwrap();
    assert!(matches!(answers[..], [Answer::AtLeast(_), Answer::AtLeast(_)]), "{answers:?}");
    assert_eq!(custody.status().unwrap().retired_keys, 1);
    assert!(custody.replace_keys(Vec::new()).is_err());
    assert_eq!(custody.status().unwrap().retired_keys, 1, "it keeps what it has");
}

#[cfg(unix)]
#[test]
fn a_folder_of_somebody_else_is_refused_and_stays_open_to_others() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    std::fs::create_dir(place.state_dir()).unwrap();
    std::fs::write(place.state_dir().join("letters"), "dear reader").unwrap();
    std::fs::set_permissions(place.state_dir(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let error = place.try_open().unwrap_err().to_string();
    assert!(error.contains("folder of its own"), "{error}");
    assert_eq!(std::fs::read_dir(place.state_dir()).unwrap().count(), 1);
    assert_eq!(place.state_dir().metadata().unwrap().permissions().mode() & 0o777, 0o755);
    std::fs::remove_file(place.state_dir().join("letters")).unwrap();
    drop(place.open());
    drop(place.open());
}

#[test]
fn threads_that_ask_at_once_never_overspend() {
    let place = Place::new();
    let custody = place.open();
    let memory = [place.encrypt(1, &[1.0, 0.0])];
    let answered: usize = std::thread::scope(|scope| {
        let ask = |thread: u16| {
            let (custody, memory) = (&custody, &memory);
            move || {
                let numbers = (0..10).map(|number| thread * 10 + number);
                numbers
                    .filter(|&number| {
                        let answers = custody.influence(CALLER, &along(number), memory).unwrap();
                        matches!(answers[0], Answer::AtLeast(_))
                    })
                    .count()
            }
        };
        let threads: Vec<_> = (0..2).map(|thread| scope.spawn(ask(thread))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(answered, 2, "16 each of 40");
}

#[test]
fn a_retired_key_still_opens_and_one_folder_is_served_once() {
    let place = Place::new();
    let custody = place.open();
    assert!(
        matches!(place.try_open(), Err(KeyholderError::Served { path }) if path.ends_with("serving.lock"))
    );
    drop(custody);
    let old = place.encrypt(1, &[1.0, 0.0]);
    let next = Identity::generate();
    let new = Sealer::new(next.recipient()).encrypt_signature([2; 32], &[1.0, 0.0]).unwrap();
    let public_key = next.recipient().to_string();
    let keys = vec![next, Identity::load(&place.secret).unwrap()];
    let custody = Custody::open(&place.state_dir(), keys, place.config.clone()).unwrap();
    let answers = custody.influence(CALLER, &along(0), &[old, new]).unwrap();
    assert_eq!(answers, [Answer::AtLeast(0.75), Answer::AtLeast(0.75)]);
    let status = custody.status().unwrap();
    assert_eq!((status.public_key, status.retired_keys), (public_key, 1));
    custody.note(CALLER, Deed::Stopped).unwrap();
    assert_eq!(status.audit_records + 1, custody.status().unwrap().audit_records);
}

#[test]
fn a_log_that_was_changed_stops_custody_from_being_taken() {
    let place = Place::new();
    let memory = [place.encrypt(1, &[1.0, 0.0])];
    for number in 0..2 {
        place.open().influence(CALLER, &along(number), &memory).unwrap();
    }
    let path = place.state_dir().join("audit.jsonl");
    let log = place.log();
    std::fs::write(&path, log.replacen("16", "10", 1)).unwrap();
    let error = place.try_open().unwrap_err();
    assert!(error.to_string().contains("restore it, or move it away"), "{error}");
    std::fs::write(&path, log).unwrap();
    place.open();
}

#[test]
fn the_log_holds_neither_query_nor_level() {
    let place = Place::new();
    let custody = place.open();
    custody.influence(CALLER, &along(0), &[place.encrypt(1, &[1.0, 0.0])]).unwrap();
    let log = place.log();
    let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&log).unwrap();
    let mut names: Vec<_> = fields.keys().map(String::as_str).collect();
    names.sort_unstable();
    let expected =
        ["at", "boot", "caller", "chain", "deed", "memories", "pid", "seq", "time", "uid", "units", "up"];
    assert_eq!(names, expected);
    assert_eq!(fields["units"], serde_json::json!([16]));
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused_and_no_folder_is_made() {
    let mut place = Place::new();
    place.config.most_signatures = 1000;
    let error = place.try_open().unwrap_err();
    assert!(error.to_string().contains("most_signatures (1000) can cost 16000 units"), "{error}");
    assert!(!place.state_dir().exists());
    CustodyConfig::default().validate().unwrap();
    let text = r#"{"most_signatures": 7, "budget": {"price_of_sum": 3}}"#;
    let config: CustodyConfig = serde_json::from_str(text).unwrap();
    assert_eq!((config.most_signatures, config.budget.price_of_sum), (7, 3));
    assert!(serde_json::from_str::<CustodyConfig>(r#"{"levels": []}"#).is_err());
}

#[test]
fn a_process_asks_itself_under_its_own_name() {
    let place = Place::new();
    let local = LocalKeyholder::of(place.open());
    let asked: &dyn Keyholder = &local;
    let memory = [place.encrypt(1, &[1.0, 0.0])];
    assert_eq!(asked.influence(&along(0), &memory).unwrap(), [Answer::AtLeast(0.75)]);
    assert!(place.log().contains(&format!(r#""pid":{}"#, std::process::id())));
    assert!(Path::new(&place.state_dir()).join("audit.jsonl").exists());
}
