//! Planted mistake in the softmax: Candle's own softmax on bf16 scores, row 43 of the catalogue.

use candle_core::{DType, Tensor};
use candle_nn::ops::softmax_last_dim;

use super::attending::{Attend, attending};
use super::making::demand;
use super::plant::{PLANT, Plant};
use crate::Result;

pub const PLANTS: &[Plant] = &[Plant {
    name: "softmax-half",
    does: "computes the softmax in bf16, step by step, as `softmax_last_dim` does with bf16 scores",
    make: |correct| correct.driven(|llama| attending(llama, Half)),
    fails: &["03", "06", "07"],
    may: (
        &["04", "09"],
        "scores that differ in the last bit of a float32 may round to different bf16 values; greedy tokens may stay \
         the same",
    ),
    first: Some("model.layers.0.self_attn.probs"),
    // Up to 256 equal probabilities are summed exactly, and the sum of unequal ones is not much less
    // accurate.
    reach: |dtype| if dtype == DType::BF16 { 501 } else { 0 },
    shows: |setting| {
        let long = setting.cases.iter().any(|case| case.length() > 500);
        demand(long || setting.dtype != DType::BF16, "no case is longer than 500 tokens")
    },
    ..PLANT
}];

struct Half;

impl Attend for Half {
    fn softmax(&self, scores: &Tensor) -> Result<Tensor> {
        Ok(softmax_last_dim(&scores.to_dtype(DType::BF16)?)?.to_dtype(scores.dtype())?)
    }
}
