//! Deviations in matrix products: another matrix, and factors in low precision.

use candle_core::DType;

use super::format::Format;
use crate::Result;
use crate::diagnose::round;
use crate::oracle::Matrix;

/// The matrix that the port multiplies by.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::diagnose) enum MatrixReading {
    /// The transpose of a square matrix; of another matrix, its values read in the transpose's shape. `order`
    /// is the port's own order of rows, if it has one.
    Transposed { order: Option<Vec<usize>> },
    /// Rows of matrices of the file, by matrix name and row index.
    Rows(Vec<(String, u32)>),
    /// The first rows of another matrix of the file.
    Other(String),
    /// The matrix rounded to a format.
    Rounded(Format),
    /// Each row divided by its length.
    UnitRows,
}

/// A matrix and a bias that the port takes from elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::diagnose) struct OtherModule {
    /// The matrix.
    pub reading: MatrixReading,
    /// Its bias minus the right one, `[out]`.
    pub bias: Vec<f64>,
}

impl MatrixReading {
    /// Computes the port's matrix from the right one, `[out, in]` → the same shape; `read` returns rows of
    /// another matrix.
    pub fn of(&self, right: Matrix, read: &dyn Fn(&str, &[u32]) -> Result<Matrix>) -> Result<Matrix> {
        match self {
            Self::Transposed { order } => {
                let own = right.in_order(order.as_deref().map(inverse).as_deref())?;
                let (out, width) = own.shape();
                let read = if out == width { own.transposed()? } else { own.read_as_transposed()? };
                read.in_order(order.as_deref())
            }
            Self::Rows(rows) => {
                let runs = rows.chunk_by(|(a, _), (b, _)| a == b);
                let parts = runs.map(|run| {
                    let ids: Vec<u32> = run.iter().map(|&(_, row)| row).collect();
                    read(&run[0].0, &ids)
                });
                Matrix::stacked(&parts.collect::<Result<Vec<_>>>()?)
            }
            Self::Other(name) => {
                let rows: Vec<u32> = (0..right.shape().0 as u32).collect();
                read(name, &rows)
            }
            Self::Rounded(format) => right.changed(|values, width| format.of(values, width)),
            Self::UnitRows => right.changed(|values, width| {
                for row in values.chunks_exact_mut(width) {
                    let length = row.iter().map(|v| v * v).sum::<f64>().sqrt();
                    row.iter_mut().for_each(|v| *v /= length);
                }
            }),
        }
    }
}

/// The inverse of a permutation.
fn inverse(order: &[usize]) -> Vec<usize> {
    let mut inverse = vec![0; order.len()];
    order.iter().enumerate().for_each(|(j, &c)| inverse[c] = j);
    inverse
}

/// The precision that both factors of a product are rounded to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::diagnose) enum LowFactors {
    /// A half-precision dtype.
    Half(DType),
    /// TensorFloat-32: 10 bits after the binary point.
    Tf32,
}

impl LowFactors {
    /// The nearest value in this precision.
    pub fn round(self, v: f64) -> f64 {
        match self {
            Self::Half(dtype) => round(v, dtype),
            Self::Tf32 => f64::from(f32::from_bits(((v as f32).to_bits() + 0x1000) & !0x1fff)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tf32_keeps_ten_bits() {
        assert_eq!(LowFactors::Tf32.round(1.0 + 2f64.powi(-10)), 1.0 + 2f64.powi(-10));
        assert_eq!(LowFactors::Tf32.round(1.0 + 2f64.powi(-12)), 1.0);
    }
}
