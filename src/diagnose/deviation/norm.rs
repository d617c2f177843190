//! Deviations in norms: another weight, and half precision.

use candle_core::DType;

use crate::diagnose::round;
use crate::oracle::Rows;

/// The vector that the port's norm multiplies by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::diagnose) enum NormWeight {
    /// The weight plus a number.
    Plus(f64),
    /// The same number everywhere: a weight that was never loaded.
    All(f64),
}

impl NormWeight {
    /// Computes the port's vector from the right weight.
    pub fn of(self, weight: &[f64]) -> Vec<f64> {
        match self {
            Self::Plus(more) => weight.iter().map(|w| w + more).collect(),
            Self::All(value) => vec![value; weight.len()],
        }
    }
}

/// A norm in which every step is rounded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::diagnose) struct LowNorm {
    /// The dtype that steps are rounded to.
    pub dtype: DType,
    /// Squares are added one by one, and the sum is rounded after each.
    pub sums: bool,
    /// A row is multiplied by the rounded inverse instead of divided.
    pub inverse: bool,
}

impl LowNorm {
    /// x / √(mean(x²) + eps) · weight along each row, every step rounded: `[rows, width]` → the same shape.
    pub fn norm(self, x: &Rows, weight: &[f64], eps: f64) -> Rows {
        let round = |v: f64| round(v, self.dtype);
        let divisors: Vec<f64> = x.iter().map(|row| self.divisor(row, eps)).collect(); // [rows]
        Rows::from_fn(x.len(), x.width, |r, j| {
            let (x, divisor) = (round(x.row(r)[j]), divisors[r]);
            let normed = if self.inverse { round(x * round(1.0 / divisor)) } else { round(x / divisor) };
            round(normed * round(weight[j]))
        })
    }

    fn divisor(self, row: &[f64], eps: f64) -> f64 {
        let round = |v: f64| round(v, self.dtype);
        let squares = row.iter().map(|&v| round(round(v) * round(v)));
        let n = row.len() as f64;
        let mean = if self.sums {
            round(squares.fold(0.0, |sum, square| round(sum + square)) / n)
        } else {
            round(row.iter().map(|&v| round(v) * round(v)).sum::<f64>() / n)
        };
        round(round(mean + round(eps)).sqrt())
    }
}
