//! Integrated information Φ of a Gaussian system: how much more the whole says about its own past than its parts say about theirs.
//!
//! After A. B. Barrett and A. K. Seth, "Practical measures of integrated information for time-series data", PLOS Computational
//! Biology 7(1), 2011: `Φ_E` with a delay of one step, in nats.
//!
//! The system is `X_t = A X_{t-1} + e_t` with independent noise of variance 1. Of it only two covariances are needed:
//! `Σ = cov(X_t)`, the solution of `Σ = A Σ Aᵀ + I`, and `Γ = cov(X_t, X_{t-1}) = A Σ`. For a part M (some of the elements), what is
//! left of it when its own past is known is `Σ(E_M) = Σ_M − Γ_M Σ_M⁻¹ Γ_Mᵀ`, and it says `I(M) = ½ log(|Σ_M| / |Σ(E_M)|)` about its past.
//! A bipartition into M₁ and M₂ loses
//!
//! ```text
//! φ(M₁, M₂) = I(all) − I(M₁) − I(M₂)
//! ```
//!
//! and Φ is the φ of the bipartition with the least `φ / K`, where `K = min(H(M₁), H(M₂))` and `H(M) = ½ log((2πe)^|M| |Σ_M|)`: without K,
//! single elements would always be cut off. As the noise has variance 1, no `|Σ_M|` is below 1, so K is positive. φ itself is
//! negative where parts say the same about their pasts twice.

use std::f64::consts::{E, PI};

use crate::matrix::Matrix;

/// So often the number of steps is doubled when looking for the stationary state: beyond 10¹⁹ steps there is none.
const MOST_DOUBLINGS: usize = 64;
/// What is left of the first state then is less than rounding.
const FORGOTTEN: f64 = 1e-30;

/// What is known of a system: how its elements vary together, and with how they were one step before.
#[derive(Debug, Clone, PartialEq)]
pub struct Covariances {
    /// `cov(X_t)`.
    pub now: Matrix,
    /// `cov(X_t, X_{t-1})`.
    pub lagged: Matrix,
}

/// What a bipartition loses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Phi {
    /// φ in nats.
    pub nats: f64,
    /// φ / K.
    pub normalised: f64,
    /// The elements of one part, as bits; the others are the other part.
    pub part: u32,
}

impl Covariances {
    /// Those of the stationary state of `X_t = A X_{t-1} + e_t`; `None` if there is none.
    #[must_use]
    pub fn of_system(a: &Matrix) -> Option<Self> {
        // Σ after 2k steps is Σ_k + A^k Σ_k (A^k)ᵀ.
        let (mut now, mut power) = (Matrix::identity(a.order()), a.clone());
        for _ in 0..MOST_DOUBLINGS {
            if power.norm() < FORGOTTEN {
                let lagged = a.times(&now);
                return Some(Self { now, lagged });
            }
            now = now.plus(&power.times(&now).times(&power.transposed())).symmetric();
            power = power.times(&power);
        }
        None
    }

    /// How many elements the system has.
    #[must_use]
    pub fn order(&self) -> usize {
        self.now.order()
    }

    /// What these elements say about their own past, `I(M)` in nats, and their entropy `H(M)`. `None` if these are no covariances.
    #[must_use]
    pub fn information(&self, elements: &[usize]) -> Option<(f64, f64)> {
        let (now, lagged, half) = (self.now.of(elements), self.lagged.of(elements), elements.len());
        // The past first, so that the rest of the diagonal belongs to what is left when it is known.
        let joint = Matrix::new(2 * half, |row, column| match (row < half, column < half) {
            (true, true) => now.at(row, column),
            (false, true) => lagged.at(row - half, column),
            (true, false) => lagged.at(column - half, row),
            (false, false) => now.at(row - half, column - half),
        });
        let diagonal = joint.cholesky_diagonal()?;
        let half_log_det = |diagonal: &[f64]| diagonal.iter().map(|value| value.ln()).sum::<f64>();
        let (past, rest) = (half_log_det(&diagonal[..half]), half_log_det(&diagonal[half..]));
        Some((past - rest, 0.5 * half as f64 * (2.0 * PI * E).ln() + past))
    }

    /// What cutting the system into these elements (as bits) and the others loses. `None` if one part is empty, or these are no
    /// covariances.
    #[must_use]
    pub fn cut(&self, part: u32) -> Option<Phi> {
        self.cut_of(part, self.information(&(0..self.order()).collect::<Vec<_>>())?.0)
    }

    /// Φ: the cut that loses least, in proportion to what there is to lose. `None` for less than two or more than 16 elements, or
    /// if these are no covariances.
    #[must_use]
    pub fn phi(&self) -> Option<Phi> {
        if !(2..=16).contains(&self.order()) {
            return None;
        }
        let (whole, _) = self.information(&(0..self.order()).collect::<Vec<_>>())?;
        // Each bipartition once: the last element is always among the others.
        let cuts = 1..1 << (self.order() - 1);
        cuts.map(|part| self.cut_of(part, whole)).try_fold(None, |least: Option<Phi>, cut| {
            let cut = cut?;
            Some(Some(least.filter(|least| least.normalised <= cut.normalised).unwrap_or(cut)))
        })?
    }

    fn cut_of(&self, part: u32, whole: f64) -> Option<Phi> {
        let (one, other): (Vec<_>, Vec<_>) = (0..self.order()).partition(|&element| part >> element & 1 == 1);
        if one.is_empty() || other.is_empty() {
            return None;
        }
        let (one, other) = (self.information(&one)?, self.information(&other)?);
        let nats = whole - one.0 - other.0;
        Some(Phi { nats, normalised: nats / one.1.min(other.1), part })
    }
}

/// How far φ of one cut, and its `φ / K`, can be from the truth if no element of the two covariances of `system` is off by more than
/// `error`.
///
/// A covariance S whose least eigenvalue is λ and which is off by D with `‖D‖ < λ` has eigenvalues of `S^{-½} (S+D) S^{-½}` between
/// `1 − ε` and `1 + ε`, `ε = ‖D‖ / λ`, so `log|S|` is off by no more than `−m log(1 − ε)` for m rows; and so are its parts, whose
/// eigenvalues lie between. `I(M) = log|Σ_M| − ½ log|J_M|`, where J is the covariance of two steps. Σ has eigenvalues from 1 on; and J those of
/// `T diag(Σ, I) Tᵀ` with `T = [[A, I], [I, 0]]`, whose inverse has a norm of at most `1 + ‖A‖`, so they begin at `(1 + ‖A‖)⁻²`. Infinite where
/// the error is too large to say anything.
#[must_use]
pub fn error_bounds(system: &Matrix, covariances: &Covariances, cut: &Phi, error: f64) -> (f64, f64) {
    let order = system.order() as f64;
    // Each matrix is off by `order` × `error` at most, and two steps are four of them.
    let (off, off_joint) = (order * error, 2.0 * order * error * (1.0 + system.norm()).powi(2));
    if off_joint.max(off) >= 1.0 {
        return (f64::INFINITY, f64::INFINITY);
    }
    let log_det = |off: f64| -order * (-off).ln_1p();
    // Once for the whole, and once for the parts together.
    let nats = 2.0 * (log_det(off) + log_det(off_joint));
    let entropies = [true, false].map(|of_part| {
        let elements: Vec<_> =
            (0..system.order()).filter(|&at| (cut.part >> at & 1 == 1) == of_part).collect();
        covariances.information(&elements).map_or(0.0, |(_, entropy)| entropy)
    });
    let (entropy_off, least) = (0.5 * log_det(off), entropies[0].min(entropies[1]));
    let normalised = if least > entropy_off {
        (nats + cut.normalised.abs() * entropy_off) / (least - entropy_off)
    } else {
        f64::INFINITY
    };
    (nats, normalised)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROUNDING: f64 = 1e-9;

    /// Any matrix whose powers vanish: no row sums up to more than `most`.
    fn stable(order: usize, most: f64) -> impl Strategy<Value = Matrix> {
        prop::collection::vec(-1.0..1.0f64, order * order).prop_map(move |values| {
            let row_sum =
                |row: usize| -> f64 { values[row * order..][..order].iter().map(|v| v.abs()).sum() };
            let largest = (0..order).map(row_sum).fold(1e-3, f64::max);
            Matrix::new(order, |row, column| most * values[row * order + column] / largest)
        })
    }

    fn phi(a: &Matrix) -> Phi {
        Covariances::of_system(a).unwrap().phi().unwrap()
    }

    /// Of two elements, each coupled to itself by `own` and to the other by `other`. Σ and Γ have the eigenvectors (1, ±1), with
    /// variances `s± = 1 / (1 − (own ± other)²)`; each element follows its own past with correlation
    /// `r = ((own + other) s₊ + (own − other) s₋) / (s₊ + s₋)`. So
    /// `φ = −½ log((1 − (own + other)²) (1 − (own − other)²)) + log(1 − r²)`, and `−log(1 − other²)` if `own` is 0.
    fn closed_form(own: f64, other: f64) -> f64 {
        let (plus, minus) = (own + other, own - other);
        let (s_plus, s_minus) = (1.0 / (1.0 - plus * plus), 1.0 / (1.0 - minus * minus));
        let r = (plus * s_plus + minus * s_minus) / (s_plus + s_minus);
        0.5 * (s_plus * s_minus).ln() + (1.0 - r * r).ln()
    }

    fn pair(own: f64, other: f64) -> Matrix {
        Matrix::new(2, |row, column| if row == column { own } else { other })
    }

    #[test]
    fn two_elements_that_only_follow_each_other_have_the_phi_of_the_formula() {
        for step in 1..10 {
            let coupling = f64::from(step) / 10.0;
            let expected = -(1.0 - coupling * coupling).ln();
            assert!((phi(&pair(0.0, coupling)).nats - expected).abs() < ROUNDING);
            assert!((closed_form(0.0, coupling) - expected).abs() < ROUNDING);
        }
    }

    #[test]
    fn more_coupling_is_more_phi_until_both_say_the_same_about_their_pasts() {
        let coupled = |own: f64| (0..10).map(move |step| phi(&pair(own, f64::from(step) * 0.05)).nats);
        let grows = |nats: &[f64]| nats.windows(2).all(|two| two[1] > two[0]);
        let alone: Vec<f64> = coupled(0.0).collect();
        assert!(alone[0].abs() < ROUNDING && grows(&alone), "{alone:?}");
        // Elements that follow themselves too are soon alike, and one tells what the other does.
        let redundant: Vec<f64> = coupled(0.5).collect();
        assert!(grows(&redundant[..6]) && redundant[9] < 0.0, "{redundant:?}");
    }

    #[test]
    fn a_system_without_a_stationary_state_has_no_phi() {
        assert_eq!(Covariances::of_system(&Matrix::identity(3)), None);
        assert_eq!(Covariances::of_system(&pair(0.6, 0.6)), None);
        assert_eq!(Covariances::of_system(&Matrix::new(2, |_, _| f64::NAN)), None);
    }

    #[test]
    fn what_are_no_covariances_have_no_phi() {
        let wrong = Covariances { now: Matrix::identity(3), lagged: Matrix::new(3, |_, _| 2.0) };
        assert_eq!(wrong.phi(), None);
        let one = Covariances { now: Matrix::identity(1), lagged: Matrix::identity(1) };
        assert_eq!((one.phi(), one.cut(1)), (None, None));
    }

    proptest! {
        #[test]
        fn two_elements_have_the_phi_of_the_closed_form(own in -0.45..0.45f64, other in -0.45..0.45f64) {
            prop_assert!((phi(&pair(own, other)).nats - closed_form(own, other)).abs() < ROUNDING);
        }

        #[test]
        fn between_halves_that_are_not_connected_nothing_is_lost(one in stable(3, 0.9), other in stable(2, 0.9)) {
            let both = Matrix::new(5, |row, column| match (row < 3, column < 3) {
                (true, true) => one.at(row, column),
                (false, false) => other.at(row - 3, column - 3),
                _ => 0.0,
            });
            let covariances = Covariances::of_system(&both).unwrap();
            prop_assert!(covariances.cut(0b00111).unwrap().nats.abs() < ROUNDING);
            // Another cut may be negative, and none is chosen that loses more.
            prop_assert!(covariances.phi().unwrap().nats < ROUNDING);
        }

        #[test]
        fn the_order_of_the_elements_makes_no_difference(
            (a, order) in (stable(5, 0.9), Just([0, 1, 2, 3, 4]).prop_shuffle()),
        ) {
            let (as_it_is, shuffled) = (phi(&a), phi(&a.of(&order)));
            prop_assert!((as_it_is.normalised - shuffled.normalised).abs() < ROUNDING);
            let part = (0..5).filter(|&at| shuffled.part >> at & 1 == 1).fold(0, |part, at| part | 1 << order[at]);
            let cut = Covariances::of_system(&a).unwrap().cut(part).unwrap();
            prop_assert!((cut.nats - shuffled.nats).abs() < ROUNDING);
        }

        #[test]
        fn the_stationary_state_is_one_and_every_stable_system_has_a_phi(
            a in (2..7usize).prop_flat_map(|order| stable(order, 0.99)),
        ) {
            let covariances = Covariances::of_system(&a).unwrap();
            let next = a.times(&covariances.now).times(&a.transposed()).plus(&Matrix::identity(a.order()));
            for (now, next) in covariances.now.values().iter().zip(next.values()) {
                prop_assert!((now - next).abs() < 1e-9 * covariances.now.norm());
            }
            let phi = covariances.phi().unwrap();
            prop_assert!(phi.nats.is_finite() && phi.normalised.is_finite(), "{phi:?}");
            let (whole, _) = covariances.information(&(0..a.order()).collect::<Vec<_>>()).unwrap();
            prop_assert!(phi.nats <= whole + ROUNDING);
            // The noise is what is left when the past is known, and its variance is 1.
            let log_det: f64 = covariances.now.cholesky_diagonal().unwrap().iter().map(|value| value.ln()).sum();
            prop_assert!((whole - log_det).abs() < 1e-6, "{whole} and {log_det}");
        }

        #[test]
        fn no_error_within_its_bound_moves_phi_beyond_its_own(
            a in (2..6usize).prop_flat_map(|order| stable(order, 0.9)),
            signs in prop::collection::vec(-1.0..=1.0f64, 72),
            exponent in 2..8i32,
        ) {
            let (order, error) = (a.order(), 10f64.powi(-exponent));
            let exact = Covariances::of_system(&a).unwrap();
            let off = |matrix: &Matrix, from: usize| {
                Matrix::new(order, |row, column| matrix.at(row, column) + error * signs[from + row * order + column])
            };
            let moved = Covariances { now: off(&exact.now, 0).symmetric(), lagged: off(&exact.lagged, 36) };
            let phi = exact.phi().unwrap();
            let (nats, normalised) = error_bounds(&a, &exact, &phi, error);
            if nats.is_finite() {
                let cut = moved.cut(phi.part).unwrap();
                prop_assert!((cut.nats - phi.nats).abs() <= nats + ROUNDING, "{cut:?} and {phi:?}: {nats}");
                prop_assert!((cut.normalised - phi.normalised).abs() <= normalised + ROUNDING);
            }
        }
    }
}
