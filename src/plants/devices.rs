//! Planted mistakes of devices, computed on the CPU: rows 29, 31 and 32 of the catalogue.

use std::sync::atomic::{AtomicU32, Ordering};

use candle_core::{D, DType, Tensor};

use super::attending::{Attend, attending};
use super::making::demand;
use super::plant::{PLANT, Plant};
use super::products;
use super::remake::remade;
use crate::Result;
use crate::probe::Kind;

/// Why a product of half-precision factors does not change.
const EXACT: &str = "TF32 holds every number of this dtype, so that its factors stay as they are";

pub const PLANTS: &[Plant] = &[
    Plant {
        name: "gemm-reduced",
        does: "rounds both factors of every matrix product to TF32, as tensor cores do if they may",
        make: |correct| {
            correct.driven(|llama| {
                let unchanged = llama.clone();
                remade(llama, move |pass, site, _| {
                    let Some((x, layer)) = products::in_model(&unchanged, pass, site) else {
                        return Ok(None);
                    };
                    let (wide, weight) = (x.to_dtype(DType::F32)?, layer.widened()?.to_dtype(DType::F32)?);
                    let product = tf32(&wide)?.broadcast_matmul(&tf32(&weight)?.t()?)?; // [b, s, out]
                    layer.biased(product.to_dtype(x.dtype())?).map(Some)
                })
            })
        },
        fails: &["02", "03", "05", "06", "07"],
        may: (
            &["04", "09"],
            "two runs that differ in the last bit of a float32 may round to different TF32 values",
        ),
        unseen: &[(DType::BF16, EXACT), (DType::F16, EXACT)],
        first: Some("model.layers.0.self_attn.q_proj"),
        shows: |setting| setting.dense(),
        ..PLANT
    },
    Plant {
        name: "missing-barrier",
        does: "sums each row of the softmax in blocks of 64 keys, and does not wait for one of the later blocks",
        make: |correct| correct.driven(|llama| attending(llama, WithoutBarrier { state: AtomicU32::new(1) })),
        fails: &["03", "04", "06", "07"],
        may: (&["09"], "the greedy tokens may stay the same"),
        first: Some("model.layers.0.self_attn.probs"),
        reach: |_| 2 * BLOCK,
        shows: |setting| {
            let long = setting.cases.iter().any(|case| case.length() > 2 * BLOCK);
            demand(long, "no case is longer than 128 tokens")
        },
        ..PLANT
    },
    Plant {
        name: "device-kernel",
        does: "leaves the result of the embedding lookup at zero, as a device without a kernel for it does",
        make: |correct| {
            correct.driven(|llama| {
                remade(llama, |_, site, tensor| {
                    Ok(if site.kind == Kind::Embed { Some(tensor.zeros_like()?) } else { None })
                })
            })
        },
        fails: &["00B", "07", "09"],
        first: Some("model.embed_tokens"),
        ..PLANT
    },
];

/// Rounded to 11 significant bits, the precision of TF32: the high part of Dekker's splitting (1971).
fn tf32(x: &Tensor) -> Result<Tensor> {
    let multiple = (x * 8193.0)?; // 2¹³ + 1
    Ok((&multiple - (&multiple - x)?)?)
}

/// The keys that one group of threads sums.
const BLOCK: usize = 64;

/// A softmax whose sum lacks one block of keys, another in each call. The first block is always there, so short
/// rows are right.
struct WithoutBarrier {
    state: AtomicU32,
}

impl Attend for WithoutBarrier {
    fn softmax(&self, scores: &Tensor) -> Result<Tensor> {
        let wide = scores.to_dtype(DType::F32)?;
        let keys = wide.dim(D::Minus1)?;
        let powers = wide.broadcast_sub(&wide.max_keepdim(D::Minus1)?)?.exp()?; // [b, heads, s, t]
        let mut sum = powers.sum_keepdim(D::Minus1)?; // [b, heads, s, 1]
        let late = keys.div_ceil(BLOCK) - 1;
        if late > 0 {
            let block = 1 + self.next() as usize % late;
            let start = block * BLOCK;
            let unread = powers.narrow(D::Minus1, start, BLOCK.min(keys - start))?;
            sum = (sum - unread.sum_keepdim(D::Minus1)?)?;
        }
        Ok(powers.broadcast_div(&sum)?.to_dtype(scores.dtype())?)
    }
}

impl WithoutBarrier {
    /// The next number of a linear congruential generator (Numerical Recipes), in place of the chance with which
    /// threads overtake each other.
    fn next(&self) -> u32 {
        let step = |state: u32| Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
        self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).unwrap_or_default() >> 16
    }
}
