//! The matrix type that all operations of the oracle take and return: one row per token.

/// `[rows, width]`, float64. Padding has no row. A tensor with a head axis has the heads concatenated in each
/// row: `[rows, heads * head_dim]`, `[rows, heads * keys]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// The number of values per row.
    pub width: usize,
    /// The values, in row-major order.
    pub values: Vec<f64>,
}

impl Rows {
    /// Rows of `width` entries from `values` in row-major order.
    pub fn new(width: usize, values: Vec<f64>) -> Self {
        debug_assert!(width > 0 && values.len().is_multiple_of(width));
        Self { width, values }
    }

    /// `rows` rows of `width` entries, computed by `entry(row, column)`.
    pub fn from_fn(rows: usize, width: usize, mut entry: impl FnMut(usize, usize) -> f64) -> Self {
        let values = (0..rows * width).map(|i| entry(i / width, i % width)).collect();
        Self { width, values }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.values.len() / self.width
    }

    /// Are there no rows?
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Row `r`.
    pub fn row(&self, r: usize) -> &[f64] {
        &self.values[r * self.width..(r + 1) * self.width]
    }

    /// Iterates over the rows.
    pub fn iter(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.width)
    }

    /// The same rows with other columns: column `j` of the result is column `from(j)` of `self`.
    pub fn columns(&self, width: usize, from: impl Fn(usize) -> usize) -> Self {
        Self::from_fn(self.len(), width, |r, j| self.row(r)[from(j)])
    }
}
