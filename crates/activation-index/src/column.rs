//! All signatures of one dimension, one row each: what a search reads of them, and the column that fresh ones are kept in.

use crate::error::IndexError;
use crate::trace::EntryNumber;
use crate::vector::{self, Prepared};

/// Where in its column a signature lies.
pub(crate) type RowNumber = u32;

/// The rounded rows of a column, wherever they lie: what is read of every row that a search comes by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rounded<'c> {
    /// Bytes from one row of `codes` to the next.
    pub(crate) stride: usize,
    pub(crate) codes: &'c [u8],
    /// By row; see [`vector::Rounding`].
    pub(crate) scales: &'c [f32],
    pub(crate) residuals: &'c [f32],
    pub(crate) norms: &'c [f32],
}

impl Rounded<'_> {
    pub(crate) fn rows(&self) -> usize {
        self.scales.len()
    }
}

/// The exact rows of a column, wherever they lie.
pub(crate) trait ExactRows {
    /// One row; `buffer` is room to put it, if it has to be fetched.
    fn exact<'b>(&'b self, row: RowNumber, buffer: &'b mut Vec<f32>) -> Result<&'b [f32], IndexError>;
}

/// The signatures that are in no snapshot yet, in memory. Rows move when one is removed.
#[derive(Debug)]
pub(crate) struct FreshColumn {
    dimension: usize,
    exact: Vec<f32>,
    codes: Vec<u8>,
    scales: Vec<f32>,
    residuals: Vec<f32>,
    norms: Vec<f32>,
    /// Whose row it is.
    owners: Vec<EntryNumber>,
}

impl FreshColumn {
    pub(crate) fn new(dimension: usize) -> Self {
        Self {
            dimension,
            exact: Vec::new(),
            codes: Vec::new(),
            scales: Vec::new(),
            residuals: Vec::new(),
            norms: Vec::new(),
            owners: Vec::new(),
        }
    }

    /// Adds the signature of `owner`, of this column's dimension.
    pub(crate) fn push(&mut self, owner: EntryNumber, signature: &Prepared) -> RowNumber {
        debug_assert_eq!(signature.dimension(), self.dimension);
        let row = self.owners.len() as RowNumber;
        self.exact.extend_from_slice(signature.as_slice());
        let rounding = vector::push_codes(signature.as_slice(), &mut self.codes);
        self.scales.push(rounding.scale);
        self.residuals.push(rounding.residual);
        self.norms.push(rounding.norm);
        self.owners.push(owner);
        row
    }

    /// Removes a signature in constant time: the last one takes its row. Answers whose that was, if it moved.
    pub(crate) fn swap_remove(&mut self, row: RowNumber) -> Option<EntryNumber> {
        let row = row as usize;
        let last = self.owners.len() - 1;
        let stride = vector::stride(self.dimension);
        self.exact.copy_within(last * self.dimension.., row * self.dimension);
        self.exact.truncate(last * self.dimension);
        self.codes.copy_within(last * stride.., row * stride);
        self.codes.truncate(last * stride);
        self.scales.swap_remove(row);
        self.residuals.swap_remove(row);
        self.norms.swap_remove(row);
        self.owners.swap_remove(row);
        self.owners.get(row).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.owners.len()
    }

    pub(crate) fn owner(&self, row: RowNumber) -> EntryNumber {
        self.owners[row as usize]
    }

    pub(crate) fn row(&self, row: RowNumber) -> &[f32] {
        &self.exact[row as usize * self.dimension..][..self.dimension]
    }

    pub(crate) fn rounded(&self) -> Rounded<'_> {
        Rounded {
            stride: vector::stride(self.dimension),
            codes: &self.codes,
            scales: &self.scales,
            residuals: &self.residuals,
            norms: &self.norms,
        }
    }
}

impl ExactRows for FreshColumn {
    fn exact<'b>(&'b self, row: RowNumber, _: &'b mut Vec<f32>) -> Result<&'b [f32], IndexError> {
        Ok(self.row(row))
    }
}
