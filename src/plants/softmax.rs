//! Candle's own softmax put back, on scores in bf16.

use candle_core::{DType, Tensor};
use candle_nn::ops::softmax_last_dim;

use super::attending::{Attend, attending};
use super::making::demand;
use super::plant::{PLANT, Plant};
use crate::Result;

pub const PLANTS: &[Plant] = &[Plant {
    name: "softmax-half",
    does: "takes the softmax in bf16, step by step, as `softmax_last_dim` does with bf16 scores",
    make: |sound| sound.driven(|llama| attending(llama, Half)),
    red: &["03", "06", "07"],
    may: (
        &["04", "09"],
        "scores that differ in a float32's last bit may round to different bf16s, and greedy tokens may survive it",
    ),
    first: Some("model.layers.0.self_attn.probs"),
    // Up to 256 equal probabilities are summed exactly, and unequal ones not much further off.
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
