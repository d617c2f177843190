//! Deviations in norms: another statistic, another weight, and half precision.

use std::sync::Arc;

use candle_core::DType;

use super::format::Format;
use crate::diagnose::round;
use crate::oracle::{Rows, mean_square, rms_norm};

/// The vector that the port's norm multiplies by.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::diagnose) enum NormWeight {
    /// The weight plus a number.
    Plus(f64),
    /// The same number everywhere: a weight that was never loaded.
    All(f64),
    /// The weight to this power.
    Power(i32),
    /// The weight in reverse order.
    Reversed,
    /// The weight rounded to a format.
    Rounded(Format),
    /// Another vector.
    Is(Arc<[f64]>),
}

impl NormWeight {
    /// Computes the port's vector from the right weight.
    pub fn of(&self, weight: &[f64]) -> Vec<f64> {
        match self {
            Self::Plus(more) => weight.iter().map(|w| w + more).collect(),
            Self::All(value) => vec![*value; weight.len()],
            Self::Power(power) => weight.iter().map(|w| w.powi(*power)).collect(),
            Self::Reversed => weight.iter().rev().copied().collect(),
            Self::Rounded(format) => {
                let mut weight = weight.to_vec();
                let width = weight.len();
                format.of(&mut weight, width);
                weight
            }
            Self::Is(other) if other.len() == weight.len() => other.to_vec(),
            Self::Is(_) => weight.to_vec(),
        }
    }
}

/// A norm of another form than x / √(mean(x²) + ε) · weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::diagnose) enum NormForm {
    /// Another divisor.
    Divided { by: Divisor, eps: EpsUse },
    /// The mean of the row is subtracted first; the divisor is its standard deviation, of the sample if
    /// `sample`.
    Centred { sample: bool },
    /// Each run of so many channels is normed on its own.
    Runs(usize),
    /// The whole row is normed, with the weight repeated for each head.
    WholeRow,
    /// The row is multiplied by the weight, then normed.
    WeightFirst,
    /// The norm is applied to its own result, with the weight each time if `weighted`.
    Twice { weighted: bool },
    /// The row itself.
    Skipped,
    /// The row times the weight.
    WeightOnly,
    /// The row is multiplied by the root mean square, not divided.
    Inverted,
}

/// What a norm divides each row by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::diagnose) enum Divisor {
    MeanMagnitude,
    LargestMagnitude,
    RootOfSum,
    SumOfMagnitudes,
    Deviation { sample: bool },
    OneLess,
    MeanSquare,
    FirstHalf,
    SecondHalf,
    WholeTensor,
    EachChannel,
    RowBefore,
    FirstRow,
    Rounded(DType),
}

/// How ε is used with a divisor d.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::diagnose) enum EpsUse {
    /// √(d² + ε).
    Inside,
    /// d + ε.
    Outside,
    /// d.
    Absent,
}

impl Divisor {
    pub const ALL: [(Self, &str); 16] = [
        (Self::MeanMagnitude, "the mean of |x|"),
        (Self::LargestMagnitude, "the largest |x|"),
        (Self::RootOfSum, "the root of the sum of squares, not of their mean"),
        (Self::SumOfMagnitudes, "the sum of |x|"),
        (Self::Deviation { sample: false }, "the standard deviation, although the mean is not subtracted"),
        (
            Self::Deviation { sample: true },
            "the sample standard deviation (n − 1), although the mean is not subtracted",
        ),
        (Self::OneLess, "the root of the sum of squares over n − 1"),
        (Self::MeanSquare, "the mean square, without taking its root"),
        (Self::FirstHalf, "the root mean square of the first half of the channels"),
        (Self::SecondHalf, "the root mean square of the second half of the channels"),
        (Self::WholeTensor, "the root mean square of all positions together"),
        (Self::EachChannel, "the root mean square of each channel over the positions"),
        (Self::RowBefore, "the root mean square of the position before"),
        (Self::FirstRow, "the root mean square of the first position"),
        (Self::Rounded(DType::BF16), "the root of a mean square in bf16"),
        (Self::Rounded(DType::F16), "the root of a mean square in f16"),
    ];

    /// The divisor of each row, or of each channel for [`Divisor::EachChannel`].
    fn of(self, x: &Rows) -> Vec<f64> {
        let root = |row: &[f64]| mean_square(row).sqrt();
        let deviation = |row: &[f64], less: f64| {
            let mean = row.iter().sum::<f64>() / row.len() as f64;
            let squares: f64 = row.iter().map(|v| (v - mean).powi(2)).sum();
            (squares / (row.len() as f64 - less)).sqrt()
        };
        let half = x.width / 2;
        let each = |of: &dyn Fn(&[f64]) -> f64| x.iter().map(of).collect::<Vec<f64>>();
        match self {
            Self::MeanMagnitude => each(&|row| row.iter().map(|v| v.abs()).sum::<f64>() / row.len() as f64),
            Self::LargestMagnitude => each(&|row| row.iter().fold(0.0, |most: f64, v| most.max(v.abs()))),
            Self::RootOfSum => each(&|row| (mean_square(row) * row.len() as f64).sqrt()),
            Self::SumOfMagnitudes => each(&|row| row.iter().map(|v| v.abs()).sum()),
            Self::Deviation { sample } => each(&|row| deviation(row, f64::from(u8::from(sample)))),
            Self::OneLess => {
                each(&|row| (mean_square(row) * row.len() as f64 / (row.len() as f64 - 1.0)).sqrt())
            }
            Self::MeanSquare => each(&mean_square),
            Self::FirstHalf => each(&|row| root(&row[..half])),
            Self::SecondHalf => each(&|row| root(&row[half..])),
            Self::WholeTensor => vec![root(&x.values); x.len()],
            Self::EachChannel => {
                let square = |j: usize| x.iter().map(|row| row[j] * row[j]).sum::<f64>() / x.len() as f64;
                (0..x.width).map(|j| square(j).sqrt()).collect()
            }
            Self::RowBefore => {
                let own: Vec<f64> = each(&root);
                (0..own.len()).map(|r| own[(r + own.len() - 1) % own.len()]).collect()
            }
            Self::FirstRow => vec![root(x.row(0)); x.len()],
            Self::Rounded(dtype) => each(&|row| {
                let squares: f64 = row.iter().map(|v| round(v * v, dtype)).sum();
                round(squares / row.len() as f64, dtype).sqrt()
            }),
        }
    }
}

impl NormForm {
    /// The norm in this form: `[rows, width]` → the same shape.
    pub fn norm(self, x: &Rows, weight: &[f64], eps: f64) -> Rows {
        let product = |x: &Rows| Rows::from_fn(x.len(), x.width, |r, j| x.row(r)[j] * weight[j]);
        let ones = vec![1.0; x.width];
        match self {
            Self::Divided { by, eps: place } => {
                let divisors = by.of(x);
                let divisor = |r: usize, j: usize| {
                    let own = divisors[if by == Divisor::EachChannel { j } else { r }];
                    match place {
                        EpsUse::Inside => (own * own + eps).sqrt(),
                        EpsUse::Outside => own + eps,
                        EpsUse::Absent => own,
                    }
                };
                Rows::from_fn(x.len(), x.width, |r, j| x.row(r)[j] / divisor(r, j) * weight[j])
            }
            Self::Centred { sample } => {
                let n = x.width as f64;
                let mean: Vec<f64> = x.iter().map(|row| row.iter().sum::<f64>() / n).collect();
                let centred = Rows::from_fn(x.len(), x.width, |r, j| x.row(r)[j] - mean[r]);
                let more = if sample { n / (n - 1.0) } else { 1.0 };
                let divisors: Vec<f64> =
                    centred.iter().map(|row| (mean_square(row) * more + eps).sqrt()).collect();
                Rows::from_fn(x.len(), x.width, |r, j| centred.row(r)[j] / divisors[r] * weight[j])
            }
            Self::Runs(run) => {
                let runs = Rows::new(run, x.values.clone());
                let normed = rms_norm(&runs, &vec![1.0; run], eps);
                product(&Rows::new(x.width, normed.values))
            }
            Self::WholeRow => rms_norm(x, weight, eps),
            Self::WeightFirst => rms_norm(&product(x), &ones, eps),
            Self::Twice { weighted } => {
                let first = rms_norm(x, weight, eps);
                rms_norm(&first, if weighted { weight } else { &ones }, eps)
            }
            Self::Skipped => x.clone(),
            Self::WeightOnly => product(x),
            Self::Inverted => {
                let roots: Vec<f64> = x.iter().map(|row| (mean_square(row) + eps).sqrt()).collect();
                Rows::from_fn(x.len(), x.width, |r, j| x.row(r)[j] * roots[r] * weight[j])
            }
        }
    }

    /// Whether a row of the result depends on the same row only.
    pub fn is_row_wise(self) -> bool {
        let across = [Divisor::WholeTensor, Divisor::EachChannel, Divisor::RowBefore, Divisor::FirstRow];
        !matches!(self, Self::Divided { by, .. } if across.contains(&by))
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
    /// The sum of squares is multiplied by the rounded 1/n, not divided by n. That is the same if n is a power of two.
    pub share: bool,
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
        let of_n = |sum: f64| round(if self.share { sum * round(1.0 / n) } else { sum / n });
        let mean = if self.sums {
            of_n(squares.fold(0.0, |sum, square| round(sum + square)))
        } else {
            of_n(row.iter().map(|&v| round(v) * round(v)).sum::<f64>())
        };
        round(round(mean + round(eps)).sqrt())
    }
}
