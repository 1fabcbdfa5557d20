//! Small square matrices, as covariances need them. Nothing here is fast, and nothing panics on numbers.

/// A square matrix of float64, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    order: usize,
    values: Vec<f64>,
}

impl Matrix {
    /// Of `order` rows and columns, each element as `element(row, column)` says.
    #[must_use]
    pub fn new(order: usize, element: impl Fn(usize, usize) -> f64) -> Self {
        let values = (0..order * order).map(|at| element(at / order, at % order)).collect();
        Self { order, values }
    }

    /// Ones on the diagonal.
    #[must_use]
    pub fn identity(order: usize) -> Self {
        Self::new(order, |row, column| f64::from(u8::from(row == column)))
    }

    /// Rows and columns.
    #[must_use]
    pub fn order(&self) -> usize {
        self.order
    }

    /// Elements, row by row.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// One element.
    ///
    /// # Panics
    /// Beyond the last row or column.
    #[must_use]
    pub fn at(&self, row: usize, column: usize) -> f64 {
        assert!(column < self.order, "column {column} of {}", self.order);
        self.values[row * self.order + column]
    }

    /// What `self` does after `other`.
    ///
    /// # Panics
    /// If the orders differ.
    #[must_use]
    pub fn times(&self, other: &Self) -> Self {
        assert_eq!(self.order, other.order);
        let sum = |row, column| (0..self.order).map(|k| self.at(row, k) * other.at(k, column)).sum();
        Self::new(self.order, sum)
    }

    /// Element by element.
    ///
    /// # Panics
    /// If the orders differ.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        assert_eq!(self.order, other.order);
        Self::new(self.order, |row, column| self.at(row, column) + other.at(row, column))
    }

    /// Rows for columns.
    #[must_use]
    pub fn transposed(&self) -> Self {
        Self::new(self.order, |row, column| self.at(column, row))
    }

    /// The nearest symmetric matrix.
    #[must_use]
    pub fn symmetric(&self) -> Self {
        Self::new(self.order, |row, column| f64::midpoint(self.at(row, column), self.at(column, row)))
    }

    /// The rows and columns of these elements, in this order.
    #[must_use]
    pub fn of(&self, elements: &[usize]) -> Self {
        Self::new(elements.len(), |row, column| self.at(elements[row], elements[column]))
    }

    /// Frobenius norm: the root of the sum of squares.
    #[must_use]
    pub fn norm(&self) -> f64 {
        self.values.iter().map(|value| value * value).sum::<f64>().sqrt()
    }

    /// The diagonal of the lower triangular L with L Lᵀ = `self`, which is taken to be symmetric (its lower half is read). `None`
    /// if it is not positive definite, as far as rounding lets one tell.
    #[must_use]
    pub fn cholesky_diagonal(&self) -> Option<Vec<f64>> {
        let mut lower = vec![0.0; self.order * self.order];
        for row in 0..self.order {
            for column in 0..=row {
                let inner: f64 =
                    (0..column).map(|k| lower[row * self.order + k] * lower[column * self.order + k]).sum();
                let rest = self.at(row, column) - inner;
                lower[row * self.order + column] = if row > column {
                    rest / lower[column * self.order + column]
                } else if rest > 0.0 && rest.is_finite() {
                    rest.sqrt()
                } else {
                    return None;
                };
            }
        }
        Some((0..self.order).map(|at| lower[at * self.order + at]).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_of_a_triangle_with_itself_gives_the_triangle_back() {
        let lower =
            Matrix::new(4, |row, column| if column > row { 0.0 } else { (row + 2 * column + 1) as f64 });
        let square = lower.times(&lower.transposed());
        let diagonal = square.cholesky_diagonal().unwrap();
        for (at, value) in diagonal.iter().enumerate() {
            assert!((value - lower.at(at, at)).abs() < 1e-9, "{diagonal:?}");
        }
    }

    #[test]
    fn what_is_not_positive_definite_has_no_root() {
        assert_eq!(Matrix::new(2, |_, _| 1.0).cholesky_diagonal(), None);
        assert_eq!(
            Matrix::new(2, |row, column| if row == column { -1.0 } else { 0.0 }).cholesky_diagonal(),
            None
        );
        assert_eq!(Matrix::new(2, |_, _| f64::NAN).cholesky_diagonal(), None);
        assert_eq!(Matrix::new(1, |_, _| f64::INFINITY).cholesky_diagonal(), None);
    }
}
