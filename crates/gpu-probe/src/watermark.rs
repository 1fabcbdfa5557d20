//! "Consolidate now", with hysteresis: on above one threshold, off only at a lower one. Asks no card; takes
//! a look and answers.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::info::MemoryInfo;

/// The two thresholds, as shares of a card's capacity: `0 < leave <= enter < 1`.
///
/// ```
/// let config: gpu_probe::WatermarkConfig = serde_json::from_str(r#"{"enter": 0.9}"#)?;
/// assert_eq!((config.enter(), config.leave()), (0.9, 0.75));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Thresholds")]
pub struct WatermarkConfig {
    enter: f64,
    leave: f64,
}

impl WatermarkConfig {
    /// Checks the thresholds.
    ///
    /// # Errors
    /// [`Error::InvalidWatermark`] unless `0 < leave <= enter < 1`.
    pub fn new(enter: f64, leave: f64) -> Result<Self, Error> {
        if 0.0 < leave && leave <= enter && enter < 1.0 {
            Ok(Self { enter, leave })
        } else {
            Err(Error::InvalidWatermark { enter, leave })
        }
    }

    /// Share in use above which to consolidate.
    #[must_use]
    pub fn enter(&self) -> f64 {
        self.enter
    }

    /// Share in use at or below which to stop.
    #[must_use]
    pub fn leave(&self) -> f64 {
        self.leave
    }
}

impl Default for WatermarkConfig {
    fn default() -> Self {
        Self { enter: DEFAULT_ENTER, leave: DEFAULT_LEAVE }
    }
}

const DEFAULT_ENTER: f64 = 0.85;
const DEFAULT_LEAVE: f64 = 0.75;

/// The same as it comes from a file, before it is checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Thresholds {
    enter: f64,
    leave: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { enter: DEFAULT_ENTER, leave: DEFAULT_LEAVE }
    }
}

impl TryFrom<Thresholds> for WatermarkConfig {
    type Error = Error;

    fn try_from(raw: Thresholds) -> Result<Self, Error> {
        Self::new(raw.enter, raw.leave)
    }
}

/// Remembers on which side of the thresholds a card is. One per card.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Watermark {
    config: WatermarkConfig,
    consolidating: bool,
}

impl Watermark {
    /// Begins below the thresholds.
    #[must_use]
    pub fn new(config: WatermarkConfig) -> Self {
        Self { config, consolidating: false }
    }

    /// Whether to consolidate, given how full the card is now. Once it said yes it says yes
    /// until the share in use is at `leave` or below, so that it does not flap.
    pub fn should_consolidate(&mut self, memory: &MemoryInfo) -> bool {
        let used = memory.used_fraction();
        self.consolidating =
            if self.consolidating { used > self.config.leave } else { used > self.config.enter };
        self.consolidating
    }

    /// What it last said.
    #[must_use]
    pub fn is_consolidating(&self) -> bool {
        self.consolidating
    }

    /// How many bytes must become free before it stops saying yes; 0 where it says no.
    #[must_use]
    pub fn bytes_to_free(&self, memory: &MemoryInfo) -> u64 {
        let used = memory.used_fraction();
        let pressed = if self.consolidating { used > self.config.leave } else { used > self.config.enter };
        if !pressed {
            return 0;
        }
        let total = memory.total_bytes as f64;
        let mut may_stay = (self.config.leave * total).floor() as u64;
        // The product may have been rounded up to a share that is a hair above `leave`.
        while may_stay > 0 && may_stay as f64 / total > self.config.leave {
            may_stay -= 1;
        }
        memory.used_bytes.saturating_sub(may_stay)
    }

    /// The thresholds.
    #[must_use]
    pub fn config(&self) -> WatermarkConfig {
        self.config
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOTAL: u64 = 1_000_000;

    fn used(bytes: u64) -> MemoryInfo {
        MemoryInfo::new(TOTAL, TOTAL - bytes)
    }

    #[test]
    fn it_enters_above_85_percent_and_leaves_at_75() {
        // R2
        let mut watermark = Watermark::default();
        assert!(!watermark.should_consolidate(&used(850_000)));
        assert!(watermark.should_consolidate(&used(850_001)));
        assert!(watermark.should_consolidate(&used(750_001)));
        assert!(!watermark.should_consolidate(&used(750_000)));
        assert!(!watermark.should_consolidate(&used(850_000)));
    }

    #[test]
    fn thresholds_that_cannot_work_are_refused_with_the_numbers() {
        for (enter, leave) in [
            (0.5, 0.6),
            (1.0, 0.5),
            (0.5, 0.0),
            (f64::NAN, 0.5),
            (0.5, f64::NAN),
            (f64::INFINITY, 0.5),
            (0.5, -0.1),
        ] {
            assert!(WatermarkConfig::new(enter, leave).is_err(), "{enter} {leave}");
        }
        let error = serde_json::from_str::<WatermarkConfig>(r#"{"enter": 0.5}"#).unwrap_err().to_string();
        assert!(error.contains("enter = 0.5, leave = 0.75"), "{error}");
    }

    #[test]
    fn an_unknown_key_in_the_configuration_is_refused() {
        let error = serde_json::from_str::<WatermarkConfig>(r#"{"entre": 0.5}"#).unwrap_err().to_string();
        assert!(error.contains("entre"), "{error}");
    }

    #[test]
    fn configuration_round_trips_through_json() {
        let config = WatermarkConfig::new(0.9, 0.6).unwrap();
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(text, r#"{"enter":0.9,"leave":0.6}"#);
        assert_eq!(serde_json::from_str::<WatermarkConfig>(&text).unwrap(), config);
    }

    proptest! {
        /// R2: inside the band the answer never changes, and it changes at most once each time the band is
        /// crossed.
        #[test]
        fn it_never_flaps_within_the_band(
            leave in 0.01f64..0.98,
            width in 0.0f64..0.5,
            fills in prop::collection::vec(0u64..=TOTAL, 1..200),
        ) {
            let enter = (leave + width).min(0.99);
            let mut watermark = Watermark::new(WatermarkConfig::new(enter, leave).unwrap());
            let mut before = false;
            for fill in fills {
                let memory = used(fill);
                let to_free = watermark.bytes_to_free(&memory);
                let now = watermark.should_consolidate(&memory);
                let share = memory.used_fraction();
                if share > leave && share <= enter {
                    prop_assert_eq!(now, before);
                } else {
                    prop_assert_eq!(now, share > enter);
                }
                prop_assert_eq!(to_free > 0, now);
                if now {
                    let mut after = watermark;
                    prop_assert!(!after.should_consolidate(&used(fill - to_free)));
                }
                before = now;
            }
        }
    }
}
