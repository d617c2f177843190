//! The precisions that rounded arithmetic rounds to.

use candle_core::DType;
use half::{bf16, f16};

use super::rows::Rows;

/// The dtype of a model. Within an operation, PyTorch computes in float32 for all of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// float32.
    F32,
    /// bfloat16.
    Bf16,
    /// float16: larger values than 65,504 become infinite.
    F16,
}

impl Precision {
    /// The precision for a port that computes in `dtype`. A float64 port counts as float32, because its
    /// rounding error is smaller.
    pub const fn of(dtype: DType) -> Self {
        match dtype {
            DType::BF16 => Self::Bf16,
            DType::F16 => Self::F16,
            _ => Self::F32,
        }
    }

    /// Rounds to the nearest number of this precision, ties to even.
    #[inline]
    pub fn round(self, value: f32) -> f32 {
        match self {
            Self::F32 => value,
            Self::Bf16 => bf16::from_f32(value).to_f32(),
            Self::F16 => f16::from_f32(value).to_f32(),
        }
    }

    /// Rounds the inputs of an operation.
    pub(super) fn read(self, values: &[f64]) -> Vec<f32> {
        match self {
            Self::F32 => values.iter().map(|&value| value as f32).collect(),
            _ => values.iter().map(|&value| self.round(value as f32)).collect(),
        }
    }

    /// Rounds the result of an operation and returns it as rows of `width` entries.
    pub(super) fn write(self, width: usize, values: impl IntoIterator<Item = f32>) -> Rows {
        let values = values.into_iter();
        let values = match self {
            Self::F32 => values.map(f64::from).collect(),
            _ => values.map(|value| f64::from(self.round(value))).collect(),
        };
        Rows { width, values }
    }
}
