//! Rounds numbers to a dtype.

use candle_core::DType;
use half::{bf16, f16};

/// The nearest value of `dtype`.
pub fn round(value: f64, dtype: DType) -> f64 {
    match dtype {
        DType::F64 => value,
        DType::BF16 => bf16::from_f64(value).to_f64(),
        DType::F16 => f16::from_f64(value).to_f64(),
        _ => f64::from(value as f32),
    }
}
