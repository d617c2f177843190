//! Softcap, built on `Tensor::tanh`. Half precision is computed in f32 and rounded once.

use candle_core::{DType, Tensor};

use crate::Result;

/// cap · tanh(x / cap) of each entry (Bello et al., 2016; Gemma 2), or x itself if there is no cap.
pub fn softcap(x: Tensor, cap: Option<f64>) -> Result<Tensor> {
    let Some(cap) = cap else { return Ok(x) };
    let wide = (x.to_dtype(DType::F32)? / cap)?;
    Ok((wide.tanh()? * cap)?.to_dtype(x.dtype())?)
}
