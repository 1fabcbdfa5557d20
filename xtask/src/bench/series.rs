//! Asking in turns, so that what slows the machine down for a while slows all of them, and medians of what they say.

use anyhow::Result;
use serde_json::Value;

/// Answers to one command, asked several times.
#[derive(Debug, Default, Clone)]
pub(super) struct Series(Vec<Value>);

impl Series {
    /// The median of a number in the answers.
    pub(super) fn of(&self, field: &str) -> f64 {
        median(self.0.iter().filter_map(|answer| answer[field].as_f64()).collect())
    }
}

impl From<Value> for Series {
    fn from(answer: Value) -> Self {
        Self(vec![answer])
    }
}

/// The middle one, or the middle between the middle two; NaN of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = |i: usize| values.get(i).copied().unwrap_or(f64::NAN);
    f64::midpoint(middle(values.len() / 2), middle(values.len().saturating_sub(1) / 2))
}

/// Asks each in turn, once to warm up and then `passes` times. Answers a series for each.
pub(super) fn in_turns<T>(
    passes: usize,
    turns: &[T],
    mut ask: impl FnMut(&T) -> Result<Value>,
) -> Result<Vec<Series>> {
    let mut series = vec![Series::default(); turns.len()];
    for pass in 0..=passes {
        for (turn, series) in turns.iter().zip(&mut series) {
            let answer = ask(turn)?;
            if pass > 0 {
                series.0.push(answer);
            }
        }
    }
    Ok(series)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_figure_is_the_median_of_its_passes() {
        let series = |values: &[f64]| Series(values.iter().map(|v| json!({ "s": v })).collect());
        assert!((series(&[3.0, 1.0, 2.0]).of("s") - 2.0).abs() < 1e-12);
        assert!((series(&[4.0, 1.0, 2.0, 3.0]).of("s") - 2.5).abs() < 1e-12);
        assert!(series(&[]).of("s").is_nan());
    }

    #[test]
    fn the_first_pass_of_each_is_thrown_away() {
        let mut asked = 0;
        let series = in_turns(2, &["a", "b"], |_| {
            asked += 1;
            Ok(json!({ "n": asked }))
        });
        let numbers: Vec<_> = series.unwrap().iter().map(|series| series.of("n").to_string()).collect();
        assert_eq!(numbers, ["4", "5"]); // of 3 and 5, and of 4 and 6
    }
}
