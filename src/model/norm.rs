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
use crate::weights::Config;

/// RMSNorm: x / √(mean(x²) + eps) · weight, along the last axis: a whole row, or one head of it.
#[derive(Clone, Debug)]
pub struct Norm {
    /// `[width]`, f32: the stored values rounded to the model's dtype, plus what the family adds to them.
    pub weight: Tensor,
    /// ε, added to the mean square.
    pub eps: f64,
}

impl Norm {
    /// Loads the norm whose weight is the tensor `name`, `[width]`. Gemma multiplies by 1 + w, where the 1 is
    /// added in f32.
    pub fn load(loader: &Loader, name: &str, width: usize, config: &Config) -> Result<Self> {
        let weight = loader.tensor(name, &[width])?.to_dtype(DType::F32)?;
        Ok(Self { weight: (weight + config.family.norm_offset())?, eps: config.rms_norm_eps })
    }

    /// `[.., width]` → the same shape and dtype.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let wide = x.to_dtype(DType::F32)?; // [.., width]
        let normed = rms_norm(&wide, &self.weight, self.eps as f32)?; // [.., width]
        Ok(normed.to_dtype(x.dtype())?)
    }
}
