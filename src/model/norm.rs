//! Stands on `candle_nn::ops::rms_norm`, one pass per row where tensor operations need six.
//!
//! It wants contiguous input and a weight of the input's dtype. On the CPU it sums in f32 but then
//! divides and multiplies in the input's dtype, after rounding the divisor to it, which in bf16
//! shifts whole rows by up to 2⁻⁹. So the half dtypes go through f32 and are rounded once.

use candle_core::{DType, Tensor};
use candle_nn::ops::rms_norm;

use super::load::Loader;
use crate::Result;

/// RMSNorm: x / √(mean(x²) + eps) · weight, along the last axis.
#[derive(Clone, Debug)]
pub struct Norm {
    /// `[hidden]`, f32 that carries the values of the model's dtype.
    pub weight: Tensor,
    /// Added to the mean square.
    pub eps: f64,
}

impl Norm {
    /// The norm whose weight is the tensor `name`, `[width]`.
    pub fn load(loader: &Loader, name: &str, width: usize, eps: f64) -> Result<Self> {
        Ok(Self { weight: loader.tensor(name, &[width])?.to_dtype(DType::F32)?, eps })
    }

    /// `[b, s, hidden]` → the same, in its dtype.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let wide = x.to_dtype(DType::F32)?; // [b, s, hidden]
        let normed = rms_norm(&wide, &self.weight, self.eps as f32)?; // [b, s, hidden]
        Ok(normed.to_dtype(x.dtype())?)
    }
}
