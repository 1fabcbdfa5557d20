//! The error of a reconstruction: what the header reports and what bounds are checked against.

/// Sums over the finite elements of a tensor or of a part of one.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Errors {
    /// Largest |x − x′|.
    pub(crate) max_abs: f64,
    /// Σ (x − x′)².
    pub(crate) squared_error: f64,
    /// Σ x².
    pub(crate) squared_norm: f64,
}

impl Errors {
    pub(crate) fn add(&mut self, original: f64, restored: f64) {
        if original.is_finite() {
            let error = (original - restored).abs();
            self.max_abs = self.max_abs.max(error);
            self.squared_error += error * error;
            self.squared_norm += original * original;
        }
    }

    /// Of a whole chunk. Sums run over 32 lanes of each 256 values (value `i` in lane `i % 32`), which fold in halves, block
    /// after block: an order that a card can keep too.
    pub(crate) fn between(values: impl Iterator<Item = (f64, f64)>) -> Self {
        let mut errors = Self::default();
        let mut values = values.peekable();
        while values.peek().is_some() {
            let mut lanes = [Self::default(); 32];
            for (i, (original, restored)) in values.by_ref().take(256).enumerate() {
                lanes[i % 32].add(original, restored);
            }
            let mut width = 16;
            while width > 0 {
                for lane in 0..width {
                    let other = lanes[lane + width];
                    lanes[lane].merge(other);
                }
                width /= 2;
            }
            errors.merge(lanes[0]);
        }
        errors
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.max_abs = self.max_abs.max(other.max_abs);
        self.squared_error += other.squared_error;
        self.squared_norm += other.squared_norm;
    }

    /// ‖x − x′‖₂ / ‖x‖₂; 0 where both are zero.
    pub(crate) fn rel_l2(&self) -> f64 {
        if self.squared_error == 0.0 { 0.0 } else { (self.squared_error / self.squared_norm).sqrt() }
    }
}

impl Errors {
    /// Whether the sums neither overflowed nor vanished, so that the relative error means something.
    pub(crate) fn in_range(&self) -> bool {
        self.squared_norm.is_finite() && (self.max_abs == 0.0 || self.squared_error > f64::MIN_POSITIVE)
    }
}
