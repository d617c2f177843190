//! RMSNorm, built on `candle_nn::ops::rms_norm`, which takes one pass per row where tensor operations take
//! six.
//!
//! The kernel requires contiguous input and a weight of the input's dtype. On the CPU it sums in f32, but
//! then rounds the divisor to the input's dtype and divides and multiplies in that dtype, which in bf16
//! shifts whole rows by up to 2⁻⁹. So half precision is computed in f32 and rounded once.

use candle_core::{DType, Tensor};
use candle_nn::ops::rms_norm;

use super::load::Loader;
use crate::Result;

/// RMSNorm: x / √(mean(x²) + eps) · weight, along the last axis.
#[derive(Clone, Debug)]
pub struct Norm {
    /// `[hidden]`, f32, with values rounded to the model's dtype.
    pub weight: Tensor,
    /// ε, added to the mean square.
    pub eps: f64,
}

impl Norm {
    /// Loads the norm whose weight is the tensor `name`, `[width]`.
    pub fn load(loader: &Loader, name: &str, width: usize, eps: f64) -> Result<Self> {
        Ok(Self { weight: loader.tensor(name, &[width])?.to_dtype(DType::F32)?, eps })
    }

    /// `[b, s, hidden]` → the same shape and dtype.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let wide = x.to_dtype(DType::F32)?; // [b, s, hidden]
        let normed = rms_norm(&wide, &self.weight, self.eps as f32)?; // [b, s, hidden]
        Ok(normed.to_dtype(x.dtype())?)
    }
}
