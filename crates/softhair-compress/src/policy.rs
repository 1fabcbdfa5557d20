//! What a caller asks for: how much may be lost, or how small it must become.

use std::{fmt, str::FromStr};

use crate::{DType, Error, Result};

/// Relative L2 error that [`Policy::Default`] promises for lossy tensors.
pub const DEFAULT_REL_L2: f64 = 0.006;

/// Tensors below this many elements are kept exact under [`Policy::Ratio`]: their chunk headers alone would miss it.
pub const RATIO_MIN_ELEMENTS: usize = 1024;

/// The error contract of one tensor.
///
/// Integers and booleans are always exact. Non-finite values always come back bit for bit, and errors are
/// measured over the finite ones.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum Policy {
    /// ‖x − x′‖₂ ≤ bound · ‖x‖₂.
    RelL2(f64),
    /// |x − x′| ≤ bound for every element.
    MaxAbs(f64),
    /// Stored payload ≤ ratio · original bytes, with whatever error that takes. The fixed frame header (112 bytes
    /// for two dimensions) is not counted, and tensors below [`RATIO_MIN_ELEMENTS`] are exact.
    Ratio(f64),
    /// Bit for bit.
    Exact,
    /// Exact for tensors of fewer than two dimensions (biases, norms, buffers), `RelL2(0.006)` for others.
    #[default]
    Default,
}

/// What the encoder must reach for one tensor, once type and rank are known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Target {
    Exact,
    RelL2(f64),
    MaxAbs(f64),
    Ratio(f64),
}

impl Policy {
    /// Code on disk, and the number beside it.
    pub(crate) fn to_code(self) -> (u8, f64) {
        match self {
            Self::Exact => (0, 0.0),
            Self::RelL2(bound) => (1, bound),
            Self::MaxAbs(bound) => (2, bound),
            Self::Ratio(ratio) => (3, ratio),
            Self::Default => (4, DEFAULT_REL_L2),
        }
    }

    pub(crate) fn from_code(code: u8, bound: f64) -> Option<Self> {
        let policy = match code {
            0 => Self::Exact,
            1 => Self::RelL2(bound),
            2 => Self::MaxAbs(bound),
            3 => Self::Ratio(bound),
            4 => Self::Default,
            _ => return None,
        };
        policy.check().ok().map(|()| policy)
    }

    /// Refuses bounds that mean nothing.
    ///
    /// # Errors
    /// [`Error::UnusableBound`] unless errors are positive and finite, and ratios in (0, 1].
    pub fn check(self) -> Result<()> {
        let (usable, reason) = match self {
            Self::Exact | Self::Default => return Ok(()),
            Self::RelL2(bound) => (
                bound > 0.0 && bound <= 1.0,
                "a relative L2 error lies above 0 and not above 1; for no error at all, ask for exact",
            ),
            Self::MaxAbs(bound) => (
                bound > 0.0 && bound.is_finite(),
                "an absolute error is positive and finite; for no error at all, ask for exact",
            ),
            Self::Ratio(ratio) => {
                (ratio > 0.0 && ratio <= 1.0, "a ratio lies above 0 and not above 1 (0.3 keeps 30 %)")
            }
        };
        if usable { Ok(()) } else { Err(Error::UnusableBound { policy: self.to_string(), reason }) }
    }

    pub(crate) fn target(self, dtype: DType, rank: usize, elements: usize) -> Target {
        if !dtype.is_float() || elements == 0 {
            return Target::Exact;
        }
        match self {
            Self::Exact => Target::Exact,
            Self::Default if rank < 2 => Target::Exact,
            Self::Default => Target::RelL2(DEFAULT_REL_L2),
            Self::RelL2(bound) => Target::RelL2(bound),
            Self::MaxAbs(bound) => Target::MaxAbs(bound),
            Self::Ratio(_) if elements < RATIO_MIN_ELEMENTS => Target::Exact,
            Self::Ratio(ratio) => Target::Ratio(ratio),
        }
    }
}

/// `rel=0.006`, `abs=0.001`, `ratio=0.3`, `exact` or `default`: what [`Policy::from_str`] reads.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RelL2(bound) => write!(f, "rel={bound}"),
            Self::MaxAbs(bound) => write!(f, "abs={bound}"),
            Self::Ratio(ratio) => write!(f, "ratio={ratio}"),
            Self::Exact => f.write_str("exact"),
            Self::Default => f.write_str("default"),
        }
    }
}

impl FromStr for Policy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unusable = |reason| Error::UnusableBound { policy: text.to_owned(), reason };
        let Some((name, number)) = text.split_once('=') else {
            return match text {
                "exact" => Ok(Self::Exact),
                "default" => Ok(Self::Default),
                _ => Err(unusable("write rel=6e-3, abs=1e-3, ratio=0.3, exact or default")),
            };
        };
        let number: f64 =
            number.parse().map_err(|_| unusable("what follows = must be a number such as 6e-3"))?;
        let policy = match name {
            "rel" => Self::RelL2(number),
            "abs" => Self::MaxAbs(number),
            "ratio" => Self::Ratio(number),
            _ => return Err(unusable("the kinds of bound are rel, abs and ratio")),
        };
        policy.check()?;
        Ok(policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_reads_back_from_its_text() {
        for policy in
            [Policy::RelL2(6e-3), Policy::MaxAbs(1e-9), Policy::Ratio(0.3), Policy::Exact, Policy::Default]
        {
            assert_eq!(policy.to_string().parse::<Policy>().unwrap(), policy);
            let (code, bound) = policy.to_code();
            assert_eq!(Policy::from_code(code, bound), Some(policy));
        }
    }

    #[test]
    fn bounds_that_mean_nothing_are_refused_with_the_reason() {
        for text in [
            "rel=0",
            "rel=-1",
            "rel=2",
            "rel=nan",
            "abs=inf",
            "abs=0",
            "ratio=1.5",
            "rel",
            "x=1",
            "rel=x",
            "",
        ] {
            let error = text.parse::<Policy>().unwrap_err().to_string();
            assert!(error.to_lowercase().contains(text) && error.len() > text.len() + 20, "{error}");
        }
    }

    #[test]
    fn one_dimensional_and_integer_tensors_are_exact_by_default() {
        // R9
        assert_eq!(Policy::Default.target(DType::F32, 1, 100), Target::Exact);
        assert_eq!(Policy::Default.target(DType::I64, 2, 100), Target::Exact);
        assert_eq!(Policy::MaxAbs(1.0).target(DType::Bool, 2, 100), Target::Exact);
        assert_eq!(Policy::Default.target(DType::F32, 2, 100), Target::RelL2(DEFAULT_REL_L2));
    }
}
