//! A wave packet that meets a soft obstacle: the time-dependent Schrödinger equation in two dimensions.
//!
//! Visscher's scheme (Computers in Physics 5, 596, 1991): the real and the imaginary part take turns, half a time step
//! apart, each moved by the Hamiltonian applied to the other. Explicit, and stable while dt · ‖H‖ < 2. Here
//! H = −∇²/2 + V on a grid of spacing 1 with walls of infinite height, so ‖H‖ ≤ 4 + max V.

/// Grid points along each side.
pub const SIDE: usize = 256;
const STEPS_PER_FRAME: usize = 10;
const DT: f64 = 0.1;

/// The history of a packet: real parts and imaginary parts, each of shape `[frames, SIDE, SIDE]`.
#[must_use]
pub fn packet(frames: usize) -> [Vec<f32>; 2] {
    let (mut real, mut imaginary, potential) = start();
    let mut planes = [Vec::with_capacity(frames * SIDE * SIDE), Vec::with_capacity(frames * SIDE * SIDE)];
    for _ in 0..frames {
        planes[0].extend(real.iter().map(|&x| x as f32));
        planes[1].extend(imaginary.iter().map(|&x| x as f32));
        for _ in 0..STEPS_PER_FRAME {
            advance(&mut real, &imaginary, &potential, DT);
            advance(&mut imaginary, &real, &potential, -DT);
        }
    }
    planes
}

/// A Gaussian of width 14 moving right and slightly down at 0.5 radians per grid point, and a bump in its way.
fn start() -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let gaussian = |y: f64, x: f64, y0: f64, x0: f64, width: f64| {
        (-((y - y0).powi(2) + (x - x0).powi(2)) / (2.0 * width * width)).exp()
    };
    let points = || (0..SIDE * SIDE).map(|i| ((i / SIDE) as f64, (i % SIDE) as f64));
    let wave = |phase: fn(f64) -> f64| {
        let value = move |(y, x): (f64, f64)| gaussian(y, x, 118.0, 80.0, 14.0) * phase(0.5 * x + 0.1 * y);
        points().map(value).collect()
    };
    let potential = points().map(|(y, x)| 0.15 * gaussian(y, x, 128.0, 150.0, 12.0)).collect();
    (wave(f64::cos), wave(f64::sin), potential)
}

/// `target += dt · H · source`.
fn advance(target: &mut [f64], source: &[f64], potential: &[f64], dt: f64) {
    for y in 1..SIDE - 1 {
        for i in y * SIDE + 1..(y + 1) * SIDE - 1 {
            let neighbours = source[i - 1] + source[i + 1] + source[i - SIDE] + source[i + SIDE];
            target[i] += dt * (-0.5 * (neighbours - 4.0 * source[i]) + potential[i] * source[i]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packet_moves_and_keeps_its_norm() {
        let [real, imaginary] = packet(60);
        let norm = |frame: usize| -> f64 {
            let range = frame * SIDE * SIDE..(frame + 1) * SIDE * SIDE;
            range.map(|i| f64::from(real[i]).powi(2) + f64::from(imaginary[i]).powi(2)).sum()
        };
        let centre = |frame: usize| -> f64 {
            let range = frame * SIDE * SIDE..(frame + 1) * SIDE * SIDE;
            let weight = |i: usize| f64::from(real[i]).powi(2) + f64::from(imaginary[i]).powi(2);
            range.map(|i| weight(i) * (i % SIDE) as f64).sum::<f64>() / norm(frame)
        };
        assert!((norm(59) / norm(0) - 1.0).abs() < 0.02, "{} {}", norm(0), norm(59));
        assert!(centre(59) - centre(0) > 15.0, "{}", centre(59) - centre(0));
    }
}
