//! The config as parsed: each key that is wrong has its mistake.

use super::{Named, key_in};
use crate::weights::Weights;

/// The mistake of reading `key` as `got` where transformers reads `want`.
pub fn wrong(weights: &Weights, key: &'static str, got: &str, want: &str) -> Option<Named> {
    let (mistake, fix) = match key {
        "rope_theta" => {
            ("rope-theta", "take θ from the config of these weights: no default fits all of them")
        }
        "rms_norm_eps" => ("norm-eps", "take ε from the config"),
        "head_dim" => {
            ("head-dim", "take head_dim from the config; only without one is it hidden_size / heads")
        }
        "eos_token_ids" => (
            "one-eos",
            "read all of them: `eos_token_id` of generation_config.json can be a list, and goes before config.json's",
        ),
        "bos_token_id" => ("special-tokens", "take it from the tokenizer's or model's config"),
        _ => return None,
    };
    let says = format!("you read {got}; the config says {want} ({})", key_in(weights, key));
    Some(Named { mistake, says, fix: fix.into(), residual: 0.0, flips: 0 })
}
