//! Changes of a whole tensor: of what an operation reads, or of what it returns.

use std::ops::Range;
use std::sync::Arc;

use super::format::Format;
use super::function::Function;
use crate::oracle::{Rows, mean_square};

/// A change of a tensor, `[rows, width]` → the same shape.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::diagnose) enum Change {
    /// Times this number.
    Times(f64),
    /// Plus this number.
    Plus(f64),
    /// The same number everywhere.
    Constant(f64),
    /// Row r is the row `by` before it; rows without one are as `edge` says.
    Shifted { by: isize, edge: Edge },
    /// The rows in reverse order.
    RowsReversed,
    /// Every row is this one.
    Repeats(Row),
    /// Column j is column `order[j]`.
    Columns(Arc<[usize]>),
    /// These columns are 0.
    Zeros(Range<usize>),
    /// These rows are 0.
    ZeroRows(Range<usize>),
    /// Clipped to a range.
    Clipped { low: f64, high: f64 },
    /// Rounded to a format.
    Rounded(Format),
    /// Each run of so many columns divided by √(mean(x²) + ε), or by its length if `unit`.
    Normed { run: usize, eps: f64, unit: bool },
    /// Each column times a number, `[width]`.
    Weighted(Arc<[f64]>),
    /// `[heads, rows, head_dim]` in memory, read as `[rows, heads * head_dim]`.
    HeadsInFront { head_dim: usize },
    /// Queries and keys exchanged in each head, `[rows, heads * slots]`.
    Transposed { slots: usize },
    /// 0 at each query's own key, `[rows, heads * slots]`.
    WithoutOwn { slots: usize },
    /// These rows instead.
    Is(Arc<Rows>),
    /// A function of each entry.
    By(Function),
    /// c · tanh(x / c).
    Softcap(f64),
    /// Each row minus the logarithm of the sum of its exponentials.
    LogSoftmax,
    /// The softmax of each row.
    Softmax,
    /// Each row minus its largest entry.
    MinusLargest,
    /// −∞ for all but the so many largest entries of each row.
    Top(usize),
}

/// What a shift puts into the rows that have no other row to come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::diagnose) enum Edge {
    /// The rows from the other end.
    Wraps,
    /// Zeros.
    Zero,
    /// The rows themselves.
    Stays,
}

/// One row of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::diagnose) enum Row {
    First,
    Last,
}

impl Change {
    /// The changed tensor.
    pub fn of(&self, x: &Rows) -> Rows {
        let each = |of: &dyn Fn(f64) -> f64| Rows::new(x.width, x.values.iter().map(|&v| of(v)).collect());
        match self {
            Self::Times(by) => each(&|v| v * by),
            Self::Plus(more) => each(&|v| v + more),
            Self::Constant(value) => each(&|_| *value),
            Self::Shifted { by, edge } => shifted(x, *by, *edge),
            Self::RowsReversed => Rows::from_fn(x.len(), x.width, |r, j| x.row(x.len() - 1 - r)[j]),
            Self::Repeats(Row::First) => Rows::from_fn(x.len(), x.width, |_, j| x.row(0)[j]),
            Self::Repeats(Row::Last) => Rows::from_fn(x.len(), x.width, |_, j| x.row(x.len() - 1)[j]),
            Self::Columns(order) if order.len() == x.width => x.columns(x.width, |j| order[j]),
            Self::Columns(_) => x.clone(),
            Self::Zeros(columns) => {
                Rows::from_fn(x.len(), x.width, |r, j| if columns.contains(&j) { 0.0 } else { x.row(r)[j] })
            }
            Self::ZeroRows(rows) => {
                Rows::from_fn(x.len(), x.width, |r, j| if rows.contains(&r) { 0.0 } else { x.row(r)[j] })
            }
            Self::Clipped { low, high } => each(&|v| v.clamp(*low, *high)),
            Self::Rounded(format) => {
                let mut rows = x.clone();
                format.of(&mut rows.values, x.width);
                rows
            }
            Self::Normed { run, eps, unit } => {
                let mut rows = x.clone();
                for part in rows.values.chunks_exact_mut(*run) {
                    let square =
                        if *unit { mean_square(part) * *run as f64 } else { mean_square(part) + eps };
                    part.iter_mut().for_each(|v| *v /= square.sqrt());
                }
                rows
            }
            Self::HeadsInFront { head_dim } => {
                let n = x.len();
                Rows::from_fn(n, x.width, |r, j| {
                    let flat = r * x.width + j; // in [heads, rows, head_dim]
                    let (head, row) = (flat / (n * head_dim), flat / head_dim % n);
                    x.row(row)[head * head_dim + flat % head_dim]
                })
            }
            Self::Transposed { slots } if *slots == x.len() => {
                Rows::from_fn(x.len(), x.width, |r, j| x.row(j % slots)[j / slots * slots + r])
            }
            Self::Transposed { .. } => x.clone(),
            Self::WithoutOwn { slots } => {
                Rows::from_fn(x.len(), x.width, |r, j| if j % slots == r { 0.0 } else { x.row(r)[j] })
            }
            Self::Is(rows) if rows.len() == x.len() && rows.width == x.width => Rows::clone(rows),
            Self::Is(_) => x.clone(),
            Self::Weighted(weight) => Rows::from_fn(x.len(), x.width, |r, j| x.row(r)[j] * weight[j]),
            Self::By(function) => each(&|v| function.of(v)),
            Self::Softcap(cap) => each(&|v| cap * (v / cap).tanh()),
            Self::LogSoftmax => by_row(x, |row, largest| {
                let sum: f64 = row.iter().map(|v| (v - largest).exp()).sum();
                Box::new(move |v| v - largest - sum.ln())
            }),
            Self::Softmax => by_row(x, |row, largest| {
                let sum: f64 = row.iter().map(|v| (v - largest).exp()).sum();
                Box::new(move |v| (v - largest).exp() / sum)
            }),
            Self::Top(n) => by_row(x, |row, _| {
                let mut sorted = row.to_vec();
                sorted.sort_by(|a, b| b.total_cmp(a));
                let least = sorted.get(n.saturating_sub(1)).copied().unwrap_or(f64::NEG_INFINITY);
                Box::new(move |v| if v >= least { v } else { f64::NEG_INFINITY })
            }),
            Self::MinusLargest => by_row(x, |_, largest| Box::new(move |v| v - largest)),
        }
    }

    /// Whether each row of the result depends on the same row only.
    pub const fn is_row_wise(&self) -> bool {
        !matches!(
            self,
            Self::Shifted { .. }
                | Self::RowsReversed
                | Self::Repeats(_)
                | Self::ZeroRows(_)
                | Self::Rounded(_)
                | Self::HeadsInFront { .. }
                | Self::Transposed { .. }
                | Self::WithoutOwn { .. }
                | Self::Is(_)
        )
    }
}

/// Applies to each row the function that `of` makes from the row and its largest entry.
fn by_row(x: &Rows, of: impl Fn(&[f64], f64) -> Box<dyn Fn(f64) -> f64>) -> Rows {
    let changed = x.iter().flat_map(|row| {
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let function = of(row, largest);
        row.iter().map(|&v| function(v)).collect::<Vec<f64>>()
    });
    Rows::new(x.width, changed.collect())
}

fn shifted(x: &Rows, by: isize, edge: Edge) -> Rows {
    let n = x.len();
    Rows::from_fn(n, x.width, |r, j| match (r as isize - by, edge) {
        (from, _) if (0..n as isize).contains(&from) => x.row(from as usize)[j],
        (from, Edge::Wraps) => x.row(from.rem_euclid(n as isize) as usize)[j],
        (_, Edge::Zero) => 0.0,
        (_, Edge::Stays) => x.row(r)[j],
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::wraps(Edge::Wraps, [5.0, 6.0, 1.0, 2.0, 3.0, 4.0])]
    #[case::zero(Edge::Zero, [0.0, 0.0, 1.0, 2.0, 3.0, 4.0])]
    #[case::stays(Edge::Stays, [1.0, 2.0, 1.0, 2.0, 3.0, 4.0])]
    fn a_shift_by_one_takes_each_row_from_the_row_before(#[case] edge: Edge, #[case] shifted: [f64; 6]) {
        let rows = Rows::new(2, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(Change::Shifted { by: 1, edge }.of(&rows).values, shifted);
    }

    #[test]
    fn log_softmax_is_the_logarithm_of_the_softmax() {
        let rows = Rows::new(3, vec![1.0, 2.0, 4.0, -1.0, 0.0, 0.5]);
        let (log, soft) = (Change::LogSoftmax.of(&rows), Change::Softmax.of(&rows));
        for (log, soft) in log.values.iter().zip(soft.values) {
            approx::assert_relative_eq!(log.exp(), soft, max_relative = 1e-12);
        }
    }
}
