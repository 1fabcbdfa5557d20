use proptest::prelude::*;

use super::*;
use crate::act::model::{Fault, Model};
use crate::config::{Priority, ServicePolicy};

const UNITS: [&str; 3] = ["a.service", "b.service", "c.service"];
const LIMITS: [Limit; 3] = [Limit::MemoryLow, Limit::MemoryHigh, Limit::MemorySwapMax];
const PAGE: u64 = 1 << 16;

fn config() -> Config {
    let mut config = Config::default();
    for unit in UNITS {
        let mut policy = ServicePolicy::new(Priority::High, 0.5);
        policy.release_socket = Some("/run/it/release".into());
        config.services.insert(unit.to_owned(), policy);
    }
    config
}

fn recommend(service: &str, action: Action, bytes: u64) -> Recommendation {
    Recommendation { service: service.to_owned(), action, bytes, reason: "RAM is 91 % used".to_owned() }
}

/// What is set for all units: `None` for those that are gone.
fn state(model: &Model) -> Vec<(String, Limit, Option<String>)> {
    let all = UNITS.iter().flat_map(|unit| LIMITS.map(|limit| (*unit, limit)));
    all.map(|(unit, limit)| (unit.to_owned(), limit, model.line(unit, limit))).collect()
}

#[test]
fn what_is_done_is_shown_checked_and_taken_back() {
    let mut model = Model::with(UNITS);
    model.units.get_mut("a.service").unwrap().swap_bytes = 3 * PAGE;
    let before = state(&model);
    let mut measures = Measures::in_memory();
    let wanted = [
        recommend("a.service", Action::KeepOutOfSwap, 0),
        recommend("a.service", Action::BringBack, 2 * PAGE),
        recommend("b.service", Action::Limit, 5 * PAGE),
        recommend("", Action::Advise, 0),
    ];
    let lines: Vec<_> = plan(&wanted, &config(), &[]).steps.iter().map(ToString::to_string).collect();
    assert_eq!(lines[0], "a.service: set MemorySwapMax=0 (RAM is 91 % used)");
    let applied = apply(&wanted, &mut model, &config(), &mut measures);
    assert!(applied.is_complete(), "{applied:?}");
    assert_eq!(applied.done.iter().map(|done| done.what.clone()).collect::<Vec<_>>(), lines);
    assert_eq!(
        applied.done.iter().map(|done| done.took_effect).collect::<Vec<_>>(),
        [true, true, true, false]
    );
    assert_eq!((applied.done[1].before, applied.done[1].after), (Some(3 * PAGE), Some(PAGE)));
    assert_eq!(model.line("a.service", Limit::MemorySwapMax).unwrap(), "MemorySwapMax=0");
    assert_eq!(measures.standing().len(), 2);

    assert!(lift_all(&mut model, &mut measures).is_complete());
    assert_eq!(state(&model), before);
    assert!(measures.standing().is_empty());
}

#[test]
fn who_does_not_answer_counts_as_asked_and_what_else_is_to_be_done_is_done() {
    let mut model = Model::with(UNITS);
    model.units.get_mut("a.service").unwrap().memory_bytes = 3 * PAGE;
    model.faults.push_back(Fault::Refused);
    let wanted =
        [recommend("a.service", Action::AskToRelease, PAGE), recommend("a.service", Action::Reclaim, PAGE)];
    let applied = apply(&wanted, &mut model, &config(), &mut Measures::in_memory());
    assert!(applied.is_complete(), "{applied:?}");
    let [asked, reclaimed] = &applied.done[..] else { panic!("{applied:?}") };
    assert!(!asked.took_effect && asked.note.starts_with("it did not answer: "), "{asked:?}");
    assert!(reclaimed.took_effect);
    // Of a card is told what was said, not what is held.
    model.units.get_mut("a.service").unwrap().vram_bytes = 3 * PAGE;
    let of_card = [recommend("a.service", Action::AskToReleaseVram, PAGE)];
    let applied = apply(&of_card, &mut model, &config(), &mut Measures::in_memory());
    let told = &applied.done[0];
    assert_eq!((told.took_effect, told.before, told.after), (true, None, None));
    assert_eq!(told.note, format!("it says that it released {PAGE} bytes"));
    // A service that is gone is not one that does not answer.
    let gone = [recommend("gone.service", Action::AskToRelease, PAGE)];
    let mut config = config();
    let policy = config.services["a.service"].clone();
    config.services.insert("gone.service".to_owned(), policy);
    let applied = apply(&gone, &mut model, &config, &mut Measures::in_memory());
    assert!(applied.could_not[0].reason.contains("no such unit"), "{applied:?}");
}

#[test]
fn units_that_are_not_configured_are_never_touched() {
    let mut model = Model::with(["ssh.service", "a.service"]);
    let actions = [Action::KeepOutOfSwap, Action::Protect, Action::BringBack, Action::Reclaim, Action::Limit];
    for action in actions {
        let wanted = [recommend("a.service", Action::Protect, PAGE), recommend("ssh.service", action, PAGE)];
        let applied = apply(&wanted, &mut model, &config(), &mut Measures::in_memory());
        assert!(applied.could_not[0].reason.contains("is not configured"), "{applied:?}");
        assert!(applied.done.is_empty());
    }
    assert!(model.asked.is_empty());
}

#[test]
fn what_somebody_else_has_set_since_is_left() {
    let mut model = Model::with(UNITS);
    let mut measures = Measures::in_memory();
    apply(&[recommend("a.service", Action::Limit, 4 * PAGE)], &mut model, &config(), &mut measures);
    model.units.get_mut("a.service").unwrap().set.insert(Limit::MemoryHigh, Some(9 * PAGE));
    let applied = lift_all(&mut model, &mut measures);
    assert!(applied.done[0].note.contains("somebody else has set MemoryHigh=589824"), "{applied:?}");
    assert_eq!(model.line("a.service", Limit::MemoryHigh).unwrap(), "MemoryHigh=589824");
    assert!(measures.standing().is_empty());
}

#[test]
fn what_was_so_already_is_not_ours_to_take_back() {
    let mut model = Model::with(UNITS);
    model.units.get_mut("a.service").unwrap().set.insert(Limit::MemorySwapMax, Some(0));
    let mut measures = Measures::in_memory();
    let applied =
        apply(&[recommend("a.service", Action::KeepOutOfSwap, 0)], &mut model, &config(), &mut measures);
    assert_eq!(applied.done[0].note, "it was so already");
    assert!(measures.standing().is_empty());
}

#[test]
fn what_the_kernel_does_not_have_is_a_failure_and_undone() {
    let mut model = Model::with(UNITS);
    model.faults = [Fault::None, Fault::Ignored].into();
    let mut measures = Measures::in_memory();
    let applied =
        apply(&[recommend("a.service", Action::Limit, 4 * PAGE)], &mut model, &config(), &mut measures);
    assert!(applied.could_not[0].reason.contains("the kernel has infinity"), "{applied:?}");
    assert_eq!(model.line("a.service", Limit::MemoryHigh).unwrap(), "MemoryHigh=infinity");
    assert!(measures.standing().is_empty());
}

#[test]
fn a_unit_that_is_gone_has_nothing_to_take_back() {
    let mut model = Model::with(UNITS);
    let mut measures = Measures::in_memory();
    apply(&[recommend("a.service", Action::Limit, 4 * PAGE)], &mut model, &config(), &mut measures);
    model.units.remove("a.service");
    assert!(lift_all(&mut model, &mut measures).is_complete());
    assert!(measures.standing().is_empty());
}

#[test]
fn nothing_is_set_that_cannot_be_noted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("in/measures.json");
    std::fs::create_dir(directory.path().join("in")).unwrap();
    let mut measures = Measures::open(&path).unwrap();
    std::fs::remove_dir_all(directory.path().join("in")).unwrap();
    let mut model = Model::with(UNITS);
    let before = state(&model);
    let applied =
        apply(&[recommend("a.service", Action::Limit, 4 * PAGE)], &mut model, &config(), &mut measures);
    assert!(applied.could_not[0].reason.contains("measures.json"), "{applied:?}");
    assert_eq!(state(&model), before);
}

fn recommendation() -> impl Strategy<Value = Recommendation> {
    let actions = prop_oneof![
        Just(Action::KeepOutOfSwap),
        Just(Action::Protect),
        Just(Action::BringBack),
        Just(Action::AskToRelease),
        Just(Action::AskToReleaseVram),
        Just(Action::Reclaim),
        Just(Action::Limit),
        Just(Action::Lift),
        Just(Action::Advise),
    ];
    (prop::sample::select(&UNITS[..]), actions, 1u64..5)
        .prop_map(|(unit, action, pages)| recommend(unit, action, pages * PAGE))
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        12 => Just(Fault::None),
        1 => Just(Fault::Refused),
        1 => Just(Fault::AnswerLost),
        1 => Just(Fault::Ignored),
        1 => Just(Fault::Dies),
    ]
}

proptest! {
    #[test]
    fn after_a_failure_all_is_as_before_or_it_is_said_what_is_not(
        earlier in prop::collection::vec(recommendation(), 0..4),
        wanted in prop::collection::vec(recommendation(), 0..8),
        faults in prop::collection::vec(fault(), 0..40),
    ) {
        let (config, mut measures, mut model) = (config(), Measures::in_memory(), Model::with(UNITS));
        let untouched = state(&model);
        prop_assert!(apply(&earlier, &mut model, &config, &mut measures).is_complete());
        let (before, noted) = (state(&model), measures.standing().to_vec());
        model.faults = faults.into();
        let applied = apply(&wanted, &mut model, &config, &mut measures);
        model.faults.clear();
        let left: Vec<_> = applied.could_not.iter().filter_map(|could_not| could_not.left.clone()).collect();
        if !applied.is_complete() {
            for ((unit, limit, before), (_, _, now)) in before.iter().zip(state(&model)) {
                let said = left.contains(&(unit.clone(), *limit));
                prop_assert!(now.is_none() || now == *before || said, "{unit} {limit:?} {applied:?}");
            }
            if left.is_empty() {
                let sorted = |mut measures: Vec<Measure>| {
                    measures.sort_by_key(|measure| (measure.unit.clone(), measure.limit));
                    measures
                };
                // A unit that was found to be gone takes its measures with it.
                let stands = |measure: &Measure| model.units.contains_key(&measure.unit);
                let noted = noted.into_iter().filter(stands).collect();
                let now = measures.standing().iter().filter(|measure| stands(measure)).cloned().collect();
                prop_assert_eq!(sorted(now), sorted(noted));
            }
        }
        // Whatever happened: what stands is written down, so that all can be taken back.
        lift_all(&mut model, &mut measures);
        prop_assert!(measures.standing().is_empty());
        for ((unit, limit, before), (_, _, now)) in untouched.iter().zip(state(&model)) {
            prop_assert!(now.is_none() || now == *before, "{unit} {limit:?} {applied:?}");
        }
    }
}
