//! What all operations of the oracle take and give: one row a token.

/// `[rows, width]`, float64. Padding has no row. Where heads are an axis they lie side by side in
/// a row: `[rows, heads * head_dim]`, `[rows, heads * keys]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// Values in a row.
    pub width: usize,
    /// Row after row.
    pub values: Vec<f64>,
}

impl Rows {
    /// Rows of `width`, one after the other in `values`.
    pub fn new(width: usize, values: Vec<f64>) -> Self {
        debug_assert!(width > 0 && values.len().is_multiple_of(width));
        Self { width, values }
    }

    /// `rows` rows of `width`, entry by entry.
    pub fn from_fn(rows: usize, width: usize, mut entry: impl FnMut(usize, usize) -> f64) -> Self {
        let values = (0..rows * width).map(|i| entry(i / width, i % width)).collect();
        Self { width, values }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.values.len() / self.width
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Row `r`.
    pub fn row(&self, r: usize) -> &[f64] {
        &self.values[r * self.width..(r + 1) * self.width]
    }

    /// Row after row.
    pub fn iter(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.width)
    }

    /// The same rows with other columns: column `j` is what column `from(j)` was.
    pub fn columns(&self, width: usize, from: impl Fn(usize) -> usize) -> Self {
        Self::from_fn(self.len(), width, |r, j| self.row(r)[from(j)])
    }
}
