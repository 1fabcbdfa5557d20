//! A direction in whole numbers: the vector scaled to length 1 and rounded to steps of 1/[`SCALE`].

use super::{
    error::InfluenceError,
    parameters::{MAX_DIMENSION, SCALE},
};

/// Scales to length 1 and rounds.
pub(super) fn quantised(vector: &[f32]) -> Result<Vec<i16>, InfluenceError> {
    check_dimension(vector.len())?;
    if let Some((at, &value)) = vector.iter().enumerate().find(|(_, value)| !value.is_finite()) {
        return Err(InfluenceError::NotFinite { at, value });
    }
    let length = vector.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
    if length == 0.0 {
        return Err(InfluenceError::Zero);
    }
    let factor = f64::from(SCALE) / length;
    Ok(vector.iter().map(|&value| (f64::from(value) * factor).round() as i16).collect())
}

/// A dimension that a vector may have.
pub(super) fn check_dimension(dimension: usize) -> Result<(), InfluenceError> {
    if (1..=MAX_DIMENSION).contains(&dimension) {
        Ok(())
    } else {
        Err(InfluenceError::Dimension { dimension, most: MAX_DIMENSION })
    }
}

/// The greatest length, in steps, that a quantised vector of this many dimensions can have.
pub(super) fn longest(dimension: usize) -> f64 {
    f64::from(SCALE) + 0.5 * (dimension as f64).sqrt()
}

/// The length in steps.
pub(super) fn length(steps: impl Iterator<Item = i64>) -> f64 {
    (steps.map(|step| step * step).sum::<i64>() as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_quantised_vector_points_the_same_way_and_is_no_longer_than_promised(
            vector in prop::collection::vec(-1e3f32..1e3, 1..600),
        ) {
            prop_assume!(vector.iter().any(|&value| value != 0.0));
            let steps = quantised(&vector).unwrap();
            let norm = vector.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
            for (&step, &value) in steps.iter().zip(&vector) {
                let exact = f64::from(value) / norm * f64::from(SCALE);
                prop_assert!((f64::from(step) - exact).abs() <= 0.5 + 1e-6);
            }
            prop_assert!(length(steps.iter().map(|&step| i64::from(step))) <= longest(vector.len()));
        }
    }

    #[test]
    fn a_vector_without_direction_is_refused_with_the_reason() {
        assert!(matches!(quantised(&[]), Err(InfluenceError::Dimension { dimension: 0, .. })));
        assert!(matches!(quantised(&vec![1.0; MAX_DIMENSION + 1]), Err(InfluenceError::Dimension { .. })));
        assert!(matches!(quantised(&[0.0, -0.0]), Err(InfluenceError::Zero)));
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(matches!(quantised(&[1.0, bad]), Err(InfluenceError::NotFinite { at: 1, .. })));
        }
        assert_eq!(quantised(&[f32::MIN_POSITIVE, 0.0]).unwrap(), [SCALE, 0]);
        assert_eq!(quantised(&[f32::MAX, f32::MAX]).unwrap(), [23170, 23170]);
    }
}
