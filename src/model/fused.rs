//! Fused attention on the CPU, built on `candle_nn::attention::flash_attn`, which computes attention in one
//! pass without the `[s, t]` scores. (On Metal the fused function is `sdpa`; on CUDA it is in another crate.)
//!
//! The kernel requires `[b, s, heads, head_dim]` and returns f32 `[b, heads, s, head_dim]`. For a batch it
//! supports only the causal mask and not bf16, so we run it on one row at a time. The mask is: none for a
//! single query, which reads keys in place; causal with an offset; or, with padding, our mask as a tensor.

use candle_core::{DType, Tensor};
use candle_nn::attention::{AttnMask, flash_attn};
use half::{bf16, f16};

use super::mask::Mask;
use crate::{Error, Result};

/// softmax(softcap(q kᵀ · scale) + mask) v: queries `[b, heads, s, head_dim]`, keys and values
/// `[b, kv_heads, t, head_dim]`, which may be strided views → the queries' shape and dtype.
///
/// # Errors
/// The dtype is not f32, f16 or bf16.
pub fn attend(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    (scale, softcap): (f64, Option<f64>),
    mask: &Mask,
) -> Result<Tensor> {
    let kernel = match q.dtype() {
        DType::F32 => flash_attn::<f32>,
        DType::F16 => flash_attn::<f16>,
        DType::BF16 => flash_attn::<bf16>,
        other => {
            let what = format!("fused attention does not support {}", other.as_str());
            return Err(Error::input(what, "use f32, f16 or bf16"));
        }
    };
    let softcap = softcap.map(|cap| cap as f32);
    let row = |b| {
        let of = |x: &Tensor| x.narrow(0, b, 1)?.transpose(1, 2); // [1, length, heads, head_dim]
        let mask = bars(mask, b, q.dim(2)?)?;
        Ok(kernel(&of(q)?, &of(k)?, &of(v)?, scale as f32, mask, None, softcap)?) // [1, heads, s, head_dim]
    };
    let rows = (0..q.dim(0)?).map(row).collect::<Result<Vec<_>>>()?;
    Ok(Tensor::cat(&rows, 0)?.to_dtype(q.dtype())?) // [b, heads, s, head_dim]
}

/// The mask of row `b` as the kernel's type.
fn bars(mask: &Mask, b: usize, queries: usize) -> Result<AttnMask> {
    Ok(match (mask.causal, &mask.bias) {
        (Some(_), _) if queries == 1 => AttnMask::None,
        (Some(kv_offset), _) => AttnMask::Causal { kv_offset },
        (None, Some(bias)) => AttnMask::Mask(bias.narrow(0, b, 1)?), // [1, 1, s, t]
        (None, None) => AttnMask::None,
    })
}
