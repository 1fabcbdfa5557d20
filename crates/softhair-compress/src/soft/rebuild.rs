//! The closed loop: predict a row, take or make its residuals, put it in the lattice. Encoder and decoder do the same
//! arithmetic in the same order, so what one promises the other keeps.

use super::exceptions::Places;
use super::lattice::{Layout, Lengths, Pass, RANK, Row, place, rows};
use super::range::{Bit, Coder, Decoder, Encoder};
use super::residual::Residuals;
use super::stencil::{Part, Stencil, WEIGHT_BITS, WEIGHT_RANGE, columns, fit};
use crate::real::Real;

/// What an encoder compares with.
pub(super) struct Originals<'a, T> {
    pub(super) values: &'a [T],
    /// Errors must be below this.
    pub(super) bound: T,
    /// Takes the elements whose error is not.
    pub(super) missed: &'a mut Places,
}

impl<T: Real> Originals<'_, T> {
    /// Copies the originals of a fresh row from column `x` on.
    fn row(&self, pass: &Pass, row: Row, x: usize, out: &mut [T]) {
        let (at, distance) = pass.in_chunk(row);
        let at = at + x * distance;
        if distance == 1 {
            out.copy_from_slice(&self.values[at..at + out.len()]);
        } else if distance == 2 {
            // The last element may be the last of the chunk.
            let (pairs, rest) = self.values[at..].as_chunks();
            for (out, &[value, _]) in out.iter_mut().zip(pairs) {
                *out = value;
            }
            if let (Some(out), [value]) = (out.get_mut(pairs.len()), rest) {
                *out = *value;
            }
        } else {
            for (out, &value) in out.iter_mut().zip(self.values[at..].iter().step_by(distance)) {
                *out = value;
            }
        }
    }
}

/// A chunk on its way from one element to all.
pub(super) struct Rebuild<T> {
    layout: Layout,
    /// The lattice so far, with ghosts. Longer than the layout says.
    lattice: Vec<T>,
    /// Becomes the next lattice.
    next: Vec<T>,
    residuals: Residuals,
    is_fitted: [Bit; 2],
}

impl<T: Real> Rebuild<T> {
    /// `passes` are those to come, the last first.
    pub(super) fn new(first: T, lengths: &Lengths, passes: &[Pass]) -> Self {
        let layout = Layout::new([1; RANK], lengths.map(|n| usize::from(n > 1)));
        let largest = passes.iter().map(|pass| Layout::new(pass.coarse, layout.pad).len()).max();
        // Zeroed memory costs nothing until it is touched, and most of the smaller of the two never is.
        let mut lattice = vec![T::default(); largest.unwrap_or(layout.len())];
        let next = vec![T::default(); lattice.len()];
        lattice[..layout.len()].fill(first);
        Self { layout, lattice, next, residuals: Residuals::new(passes), is_fitted: [Bit::new(); 2] }
    }

    /// Codes the elements of a pass as they are, not the last pass's: for coarse lattices whose residuals would not fit.
    /// An encoder has the originals.
    pub(super) fn copy_pass<C: Coder>(
        &mut self,
        coder: &mut C,
        pass: &Pass,
        originals: Option<&Originals<T>>,
    ) {
        let fine = Layout::new(pass.fine, self.layout.pad);
        let mut fresh = vec![T::default(); pass.fresh[RANK - 1]];
        for row in rows(&pass.fresh) {
            if let Some(originals) = originals {
                originals.row(pass, row, 0, &mut fresh);
            }
            for value in &mut fresh {
                *value = T::from_bits(coder.raw_wide(T::BYTES as u32 * 8, value.bits()));
            }
            place(pass, row, (&self.layout, &self.lattice), &fresh, (&fine, &mut self.next));
        }
        self.end_pass(pass, fine);
    }

    fn end_pass(&mut self, pass: &Pass, fine: Layout) {
        self.residuals.end(pass);
        self.layout = fine;
        std::mem::swap(&mut self.lattice, &mut self.next);
    }

    /// Adds one pass to the stream, and to the lattice unless it is the `last`.
    pub(super) fn encode_pass(
        &mut self,
        coder: &mut Encoder,
        pass: &Pass,
        last: bool,
        step: f64,
        originals: &mut Originals<T>,
    ) {
        let Self { layout, lattice, .. } = self;
        layout.fill_ghosts(lattice, pass.dim);
        let stencils = code_stencils(coder, &mut self.is_fitted, pass, layout, |stencil, part| {
            fit(stencil, pass, part, (layout, lattice), |row, x, out| originals.row(pass, row, x, out), step)
        });
        let (step, inverse) = (T::from_f64(step), T::from_f64(1.0 / step));
        let fine = Layout::new(pass.fine, layout.pad);
        let width = pass.fresh[RANK - 1];
        let (mut targets, mut fresh, mut residuals) =
            (vec![T::default(); width], vec![T::default(); width], vec![0; width]);
        for row in rows(&pass.fresh) {
            predict_row(&stencils, pass, row, (layout, lattice), &mut fresh);
            originals.row(pass, row, 0, &mut targets);
            let mut missed = false;
            for ((value, &target), residual) in fresh.iter_mut().zip(&targets).zip(&mut residuals) {
                let (whole, count) = ((target - *value) * inverse).nearest();
                *value = *value + whole * step;
                *residual = count;
                let near = (target - *value).abs() < originals.bound;
                missed |= !near;
            }
            if missed {
                note_missed(pass, row, &targets, &fresh, originals.bound, originals.missed);
            }
            self.residuals.row(coder, pass, row, &mut residuals);
            if !last {
                place(pass, row, (layout, lattice), &fresh, (&fine, &mut self.next));
            }
        }
        if !last {
            self.end_pass(pass, fine);
        }
    }

    /// Reads one pass and adds it to the lattice, or puts both into `out`.
    pub(super) fn decode_pass(&mut self, coder: &mut Decoder, pass: &Pass, step: f64, out: Option<&mut [T]>) {
        let Self { layout, lattice, .. } = self;
        layout.fill_ghosts(lattice, pass.dim);
        let stencils = code_stencils(coder, &mut self.is_fitted, pass, layout, |_, _| None);
        let step = T::from_f64(step);
        let last = out.is_some();
        let fine = Layout::new(pass.fine, if last { [0; RANK] } else { layout.pad });
        let target = match out {
            Some(out) => out,
            None => &mut self.next,
        };
        let width = pass.fresh[RANK - 1];
        let (mut fresh, mut residuals) = (vec![T::default(); width], vec![0; width]);
        for row in rows(&pass.fresh) {
            self.residuals.row(coder, pass, row, &mut residuals);
            predict_row(&stencils, pass, row, (layout, lattice), &mut fresh);
            for (value, &residual) in fresh.iter_mut().zip(&residuals) {
                *value = *value + T::from_i32(residual) * step;
            }
            place(pass, row, (layout, lattice), &fresh, (&fine, target));
        }
        if !last {
            self.end_pass(pass, fine);
        }
    }
}

fn predict_row<T: Real>(
    stencils: &[(Part, Stencil); 2],
    pass: &Pass,
    row: Row,
    (layout, lattice): (&Layout, &[T]),
    fresh: &mut [T],
) {
    for (part, stencil) in stencils {
        let columns = columns(pass, row, *part);
        if !columns.is_empty() {
            stencil.predict(lattice, layout.at(row) + columns.start, &mut fresh[columns]);
        }
    }
}

#[cold]
fn note_missed<T: Real>(pass: &Pass, row: Row, targets: &[T], found: &[T], bound: T, missed: &mut Places) {
    let (at, distance) = pass.in_chunk(row);
    for (x, (&target, &found)) in targets.iter().zip(found).enumerate() {
        let near = (target - found).abs() < bound;
        if !near {
            missed.insert(at + x * distance);
        }
    }
}

/// Codes the weights of a pass's two stencils.
fn code_stencils<C: Coder>(
    coder: &mut C,
    is_fitted: &mut [Bit; 2],
    pass: &Pass,
    layout: &Layout,
    fitted: impl Fn(&Stencil, Part) -> Option<Vec<i32>>,
) -> [(Part, Stencil); 2] {
    let mut both =
        [(Part::Inside, Stencil::inside(pass, layout)), (Part::Beyond, Stencil::beyond(pass, layout))];
    for ((part, stencil), is_fitted) in both.iter_mut().zip(is_fitted) {
        let found = fitted(stencil, *part);
        if !coder.bit(is_fitted, found.is_some()) {
            continue;
        }
        let known = found.unwrap_or_default();
        let half = 1 << (WEIGHT_BITS + WEIGHT_RANGE);
        for (i, weight) in stencil.weights.iter_mut().enumerate() {
            let bits = known.get(i).map_or(0, |&w| (w + half) as u64);
            let bits = coder.raw_wide(WEIGHT_BITS + WEIGHT_RANGE + 1, bits) as i32 - half;
            *weight = f64::from(bits) / f64::from(1_u32 << WEIGHT_BITS);
        }
    }
    both
}
