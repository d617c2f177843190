//! What numbers are rounded to.

use candle_core::DType;
use half::{bf16, f16};

use super::rows::Rows;

/// The dtype of a model. Within an operation PyTorch computes in float32 whatever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// float32.
    F32,
    /// bfloat16.
    Bf16,
    /// float16: above 65,504 it is infinite.
    F16,
}

impl Precision {
    /// That of a port that computes in `dtype`. In float64 a port errs by less than in float32.
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

    /// The inputs of an operation, rounded.
    pub(super) fn read(self, values: &[f64]) -> Vec<f32> {
        match self {
            Self::F32 => values.iter().map(|&value| value as f32).collect(),
            _ => values.iter().map(|&value| self.round(value as f32)).collect(),
        }
    }

    /// The result of an operation, rounded: rows of `width`.
    pub(super) fn write(self, width: usize, values: impl IntoIterator<Item = f32>) -> Rows {
        let values = values.into_iter();
        let values = match self {
            Self::F32 => values.map(f64::from).collect(),
            _ => values.map(|value| f64::from(self.round(value))).collect(),
        };
        Rows { width, values }
    }
}
