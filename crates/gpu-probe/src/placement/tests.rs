//! The table of the rules (R29), and that more pressure never moves work onto a card.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

const MB: u64 = 1_000_000;

fn on(task: &str, megabytes: u64, used_percent: f64) -> (String, Rule) {
    let work = Work::new(task.parse().unwrap(), megabytes * MB);
    let card = CardState::hypothetical(0, used_percent / 100.0);
    let placement = place(&work, &[card], &PlacementConfig::default());
    (placement.device.to_string(), placement.rule)
}

#[test]
fn the_rules_decide_in_their_order() {
    // R29
    use Rule::{CpuWork, EmbeddingModel, GpuWork, LargeAllocation, VramHigh};
    for (task, megabytes, used, device, rule) in [
        ("math", 300, 72.0, "cpu", LargeAllocation),
        ("math", 300, 70.0, "cuda:0", GpuWork),
        ("math", 200, 72.0, "cuda:0", GpuWork),
        ("math", 201, 70.1, "cpu", LargeAllocation),
        ("quantum", 10, 85.0, "cuda:0", GpuWork),
        ("quantum", 10, 85.1, "cpu", VramHigh),
        ("tensor", 5000, 10.0, "cuda:0", GpuWork),
        ("embedding", 90, 80.0, "cuda:0", GpuWork),
        ("embedding", 90, 80.5, "cpu", EmbeddingModel),
        ("embedding", 90, 86.0, "cpu", VramHigh),
        ("text", 10, 5.0, "cpu", CpuWork),
        ("text", 10, 90.0, "cpu", VramHigh),
        ("Math ", 10, 0.0, "cuda:0", GpuWork),
    ] {
        assert_eq!(on(task, megabytes, used), (device.to_owned(), rule), "{task} {megabytes} MB at {used} %");
    }
    let nowhere = place(&Work::new(TaskKind::Math, 1), &[], &PlacementConfig::default());
    assert_eq!((nowhere.device, nowhere.rule), (Device::Cpu, Rule::NoGpu));
}

#[test]
fn of_several_cards_it_is_the_emptiest_that_takes_the_work() {
    let card =
        |device, free: u64, total: u64| CardState::new(device, &MemoryInfo::new(total * MB, free * MB));
    let cards = [card(0, 900, 1000), card(1, 2000, 4000), card(2, 500, 10_000)];
    let config = PlacementConfig::default();
    let at = |megabytes: u64| place(&Work::new(TaskKind::Tensor, megabytes * MB), &cards, &config);
    assert_eq!(at(100).device, Device::Cuda(0));
    assert_eq!(at(950).device, Device::Cuda(1), "the emptiest is too small");
    let none = at(3000);
    assert_eq!((none.device, none.rule), (Device::Cpu, Rule::DoesNotFit));
    assert!(none.reason.contains("cuda:0"), "{}", none.reason);
}

#[test]
fn what_resembles_a_crash_is_kept_off_the_card() {
    // R23
    let mut work = Work::new(TaskKind::Math, MB);
    let config = PlacementConfig::default();
    for (influence, rule) in
        [(0.25, Rule::GpuWork), (0.5, Rule::ResemblesCrash), (0.75, Rule::ResemblesCrash)]
    {
        work.influence = influence;
        let placement = place(&work, &[CardState::hypothetical(0, 0.1)], &config);
        assert_eq!(placement.rule, rule, "{}", placement.reason);
    }
    let never = PlacementConfig { felt_from: 2.0, ..config };
    assert_eq!(place(&work, &[CardState::hypothetical(0, 0.1)], &never).rule, Rule::GpuWork);
}

#[test]
fn a_forecast_counts_like_what_is_in_use_and_others_are_named() {
    let mut card = CardState::hypothetical(1, 0.5);
    (card.forecast_fraction, card.others_bytes) = (Some(0.9), Some(700 * MB));
    let placement = place(&Work::new(TaskKind::Math, MB), &[card], &PlacementConfig::default());
    assert_eq!(placement.rule, Rule::VramHigh);
    assert_eq!(
        placement.reason,
        "90.0 % of cuda:1 is in use soon (700 MB of it by other processes), more than 85 %"
    );
}

#[test]
fn who_took_memory_while_the_card_was_watched_is_named() {
    // R31
    let gpu = Arc::new(crate::SimulatedGpu::new(1000 * MB));
    gpu.add_process(0, 7, "python", 500 * MB).unwrap();
    let recorder = crate::Recorder::new(gpu.clone(), 10).unwrap();
    gpu.grow_process(0, 7, 250 * MB).unwrap();
    recorder.look_closer();
    let mut card = CardState::new(0, &MemoryInfo::new(1000 * MB, 250 * MB));
    (card.others_bytes, card.growth) = (Some(750 * MB), recorder.growth(0).into_iter().next());
    let at =
        |kind, bytes| place(&Work::new(kind, bytes), &[card.clone()], &PlacementConfig::default()).reason;
    assert_eq!(
        at(TaskKind::Math, MB),
        "math work gains from a card, and 75.0 % of cuda:0 is in use (750 MB of it by other processes); \
         python (7) just took 250 MB more"
    );
    let too_large = at(TaskKind::Math, 300 * MB);
    assert!(too_large.ends_with("more than 70 %; python (7) just took 250 MB more"), "{too_large}");
    assert_eq!(at(TaskKind::Other("io".into()), 1), "io work gains nothing from a card");
}

#[test]
fn thresholds_that_make_no_sense_are_refused() {
    PlacementConfig::default().validate().unwrap();
    for config in [
        PlacementConfig { most_used: 1.5, ..PlacementConfig::default() },
        PlacementConfig { most_used_for_large: -0.1, ..PlacementConfig::default() },
        PlacementConfig { most_used_for_embeddings: f64::NAN, ..PlacementConfig::default() },
        PlacementConfig { felt_from: 0.0, ..PlacementConfig::default() },
    ] {
        assert!(config.validate().is_err(), "{config:?}");
    }
}

fn task() -> impl Strategy<Value = TaskKind> {
    prop_oneof![
        Just(TaskKind::Math),
        Just(TaskKind::Quantum),
        Just(TaskKind::Tensor),
        Just(TaskKind::Embedding),
        Just(TaskKind::Other("io".to_owned())),
    ]
}

fn card() -> impl Strategy<Value = CardState> {
    (0u32..4, 0f64..=1.0, prop::option::of(0u64..1_000_000_000), prop::option::of(0f64..=1.0)).prop_map(
        |(device, used_fraction, free_bytes, forecast_fraction)| CardState {
            device,
            used_fraction,
            free_bytes,
            forecast_fraction,
            others_bytes: None,
            growth: None,
        },
    )
}

proptest! {
    #[test]
    fn more_pressure_never_moves_work_onto_a_card(
        kind in task(),
        bytes in 0u64..1_000_000_000,
        influence in 0f32..1.0,
        cards in prop::collection::vec(card(), 0..4),
        more in prop::collection::vec((0f64..0.5, 0u64..500_000_000, prop::option::of(0f64..=1.0)), 4),
        more_bytes in 0u64..500_000_000,
        more_influence in 0f32..0.5,
    ) {
        let config = PlacementConfig::default();
        let before = place(&Work { kind: kind.clone(), bytes, influence }, &cards, &config);
        let pressed: Vec<_> = cards
            .iter()
            .zip(&more)
            .map(|(card, (used, taken, forecast))| CardState {
                used_fraction: (card.used_fraction + used).min(1.0),
                free_bytes: card.free_bytes.map(|free| free.saturating_sub(*taken)),
                forecast_fraction: match (card.forecast_fraction, forecast) {
                    (Some(before), Some(after)) => Some(before.max(*after)),
                    (before, after) => before.or(*after),
                },
                ..card.clone()
            })
            .collect();
        let work = Work { kind, bytes: bytes + more_bytes, influence: influence + more_influence };
        let after = place(&work, &pressed, &config);
        prop_assert!(
            before.device != Device::Cpu || after.device == Device::Cpu,
            "{before:?} {after:?}"
        );
        prop_assert!(!after.reason.is_empty());
        prop_assert_eq!(after.device == Device::Cpu, after.rule != Rule::GpuWork);
    }
}
