//! Finds the mistake that explains why a config key was parsed wrongly.

use super::{Named, key_in};
use crate::weights::Weights;

/// The mistake of a port that reads `got` for `key` where transformers reads `want`.
pub fn wrong(weights: &Weights, key: &'static str, got: &str, want: &str) -> Option<Named> {
    let mistake = match key {
        "rope_theta" => "rope-theta",
        "rope_scaling" => "rope-scaling",
        "biases" => "bias-dropped",
        "rms_norm_eps" => "norm-eps",
        "local_rope_theta" => "rope-theta",
        "sliding_window" | "layer_types" => "sliding-window",
        "query_pre_attn_scalar" => "attention-scale",
        "head_dim" => "head-dim",
        "eos_token_ids" => "one-eos",
        "bos_token_id" => "special-tokens",
        _ => return None,
    };
    let says = format!("you read {got}; the config says {want} ({})", key_in(weights, key));
    Some(Named::new(mistake, says))
}
