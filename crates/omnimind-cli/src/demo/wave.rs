//! A history as simulations leave it behind: a free wave packet in two dimensions that runs and spreads, every step kept.
//! Solved in closed form, not step by step: a product of two one-dimensional Gaussian packets.

use std::f32::consts::TAU;

use omnimind_memory::DType;

use super::data::HostTensor;

pub(super) const STEPS: usize = 200;
const GRID: usize = 256;
/// Width of the packet at the start, in cells.
const WIDTH: f32 = 24.0;
/// Steps in which it spreads by a factor of √2.
const SPREAD: f32 = 400.0;
/// Cells from one crest of the wave to the next.
const WAVELENGTH: f32 = 24.0;

/// Real and imaginary part as two planes of `[steps, grid, grid]` float32.
pub(super) fn history(direction: f32) -> Vec<HostTensor> {
    let (wave_y, wave_x) = (TAU / WAVELENGTH * direction.sin(), TAU / WAVELENGTH * direction.cos());
    let bytes = STEPS * GRID * GRID * 4;
    let (mut re, mut im) = (Vec::with_capacity(bytes), Vec::with_capacity(bytes));
    for step in 0..STEPS {
        let (rows, columns) = (packet(wave_y, step), packet(wave_x, step));
        for row in &rows {
            for column in &columns {
                let value = row.times(*column);
                re.extend_from_slice(&value.re.to_le_bytes());
                im.extend_from_slice(&value.im.to_le_bytes());
            }
        }
    }
    let plane = |name: &str, bytes| HostTensor {
        name: format!("psi.{name}"),
        dtype: DType::F32,
        shape: vec![STEPS, GRID, GRID],
        bytes,
    };
    vec![plane("re", re), plane("im", im)]
}

/// One dimension of the packet at one step:
/// ψ(x, t) = s^-½ exp(-(x - vt)² / 4σ²s) exp(i(kx - ωt)) with s = 1 + it/τ and v = 2σ²k/τ.
fn packet(wave: f32, step: usize) -> Vec<Complex> {
    let time = step as f32;
    let velocity = wave * 2.0 * WIDTH * WIDTH / SPREAD;
    let spread = Complex { re: 1.0, im: time / SPREAD };
    let amplitude = spread.inverse_root();
    (0..GRID)
        .map(|cell| {
            let x = cell as f32 - GRID as f32 / 2.0;
            // It passes the middle of the grid half-way through the history.
            let shifted = x - velocity * (time - STEPS as f32 / 2.0);
            let exponent = -shifted * shifted / (4.0 * WIDTH * WIDTH * spread.norm_squared());
            let envelope = Complex::polar((exponent * spread.re).exp(), -exponent * spread.im);
            let carrier = Complex::polar(1.0, wave * (x - velocity * time / 2.0));
            amplitude.times(envelope).times(carrier)
        })
        .collect()
}

#[derive(Debug, Clone, Copy)]
struct Complex {
    re: f32,
    im: f32,
}

impl Complex {
    fn polar(radius: f32, angle: f32) -> Self {
        Self { re: radius * angle.cos(), im: radius * angle.sin() }
    }

    fn times(self, other: Self) -> Self {
        Self { re: self.re * other.re - self.im * other.im, im: self.re * other.im + self.im * other.re }
    }

    fn norm_squared(self) -> f32 {
        self.re * self.re + self.im * self.im
    }

    fn inverse_root(self) -> Self {
        Self::polar(self.norm_squared().powf(-0.25), -self.im.atan2(self.re) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packet_runs_spreads_and_keeps_its_norm() {
        let density = |step| packet(0.2, step).into_iter().map(Complex::norm_squared).collect::<Vec<_>>();
        let mean = |density: &[f32]| {
            let total: f32 = density.iter().sum();
            let moment: f32 = density.iter().enumerate().map(|(at, value)| at as f32 * value).sum();
            (total, moment / total)
        };
        let (early, late) = (mean(&density(60)), mean(&density(140)));
        assert!((early.0 - late.0).abs() < 0.01 * early.0, "{early:?} {late:?}");
        assert!(late.1 > early.1 + 10.0, "{early:?} {late:?}");
    }
}
