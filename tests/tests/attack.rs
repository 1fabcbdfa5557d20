//! Within the default budgets nobody finds out where a signature points (R22).

#![allow(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use encrypted_unconscious::keyholder::CustodyConfig;
use end_to_end::attack::{Blind, Ego, Informed, cosine};
use end_to_end::sentence_embeddings;

const MOST: f64 = 0.2;

/// As if nothing were known of how signatures are distributed.
fn anywhere(seed: u64) -> Vec<f32> {
    let mut ego = Ego::new(&[1.0; 384], &CustodyConfig::default(), seed ^ 0xabcd);
    ego.gaussian(384).into_iter().map(|value| value as f32).collect()
}

#[test]
fn a_curious_ego_cannot_reconstruct_a_signature_of_384_dimensions() {
    for attack in Blind::ALL {
        let mut cosines = Vec::new();
        for seed in 0..6 {
            let truth = if seed % 2 == 0 {
                anywhere(seed)
            } else {
                sentence_embeddings().unwrap()[seed as usize].clone()
            };
            let mut ego = Ego::new(&truth, &CustodyConfig::default(), seed);
            let guess = attack.guess(&mut ego);
            assert!(ego.answers >= 8, "{attack:?} was hardly answered: the attack is not mounted");
            cosines.push(cosine(&guess, &truth).abs());
        }
        assert!(cosines.iter().all(|&cosine| cosine <= MOST), "{attack:?}: {cosines:.3?}");
    }
}

#[test]
fn the_attack_succeeds_where_budgets_are_without_measure() {
    let mut config = CustodyConfig::default();
    config.budget.memory.capacity = 1_000_000;
    config.budget.caller.capacity = 1_000_000;
    let truth = anywhere(1);
    let mut ego = Ego::new(&truth, &config, 1);
    let found = cosine(&Blind::ShiftedSums.guess(&mut ego), &truth);
    assert!(found > 0.9, "{found}: an attack that never works shows nothing");
}

#[test]
fn what_was_asked_is_not_forgotten_by_restarts_clocks_and_users() {
    let truth = anywhere(3);
    let asked = |attack: Blind| {
        let mut ego = Ego::new(&truth, &CustodyConfig::default(), 3);
        attack.guess(&mut ego);
        ego.answers
    };
    let config = CustodyConfig::default().budget;
    let sums = config.memory.capacity / config.price_of_sum + config.everyone.capacity / config.price_of_sum;
    let left = config.memory.capacity % config.price_of_sum;
    assert!(asked(Blind::Everything) <= sums + left, "{} of {sums}", asked(Blind::Everything));
}

#[test]
fn one_who_knows_what_signatures_look_like_gains_little() {
    let embeddings = sentence_embeddings().unwrap();
    let (corpus, targets) = embeddings.split_at(1500);
    let (mut before, mut after) = (0.0, 0.0);
    for (seed, truth) in targets.iter().step_by(100).enumerate() {
        let mut ego = Ego::new(truth, &CustodyConfig::default(), seed as u64);
        let mut adversary = Informed::new(corpus);
        before += cosine(&adversary.guess(), truth) / 5.0;
        adversary.ask(&mut ego);
        after += cosine(&adversary.guess(), truth) / 5.0;
    }
    // It begins with what all signatures have in common, and must not come near the one that it asks about.
    assert!(after <= before + 0.35, "{before:.3} to {after:.3}");
    println!("informed: {before:.3} before, {after:.3} after");
}
