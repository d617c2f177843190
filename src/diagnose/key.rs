//! Names of config keys as the user's own file has them.

use serde_json::Value;

use crate::weights::{RopeScaling, Weights, gguf_key};

/// The key in the file that was read, and that file, for `key`, a Hugging Face name.
pub fn key_in(weights: &Weights, key: &'static str) -> String {
    let Some(gguf) = weights.gguf() else { return format!("`{key}`, config.json") };
    let file = weights.origin().file_name().unwrap_or_default().to_string_lossy();
    let architecture = gguf.metadata("general.architecture");
    let architecture = architecture.as_ref().and_then(Value::as_str).unwrap_or("llama");
    let own = match key {
        "rope_scaling" => match weights.config().rope_scaling {
            RopeScaling::PerPair { .. } => return format!("`rope_freqs.weight`, {file}"),
            RopeScaling::None | RopeScaling::Linear { .. } | RopeScaling::Llama3 { .. } => {
                "rope.scaling.factor"
            }
        },
        "eos_token_ids" => return format!("`tokenizer.ggml.eos_token_id`, {file}"),
        "bos_token_id" => return format!("`tokenizer.ggml.bos_token_id`, {file}"),
        "rope_local_base_freq" => "rope.freq_base_swa",
        "layer_types" => "attention.sliding_window_pattern",
        "sliding_window" => "attention.sliding_window",
        other => match gguf_key(other) {
            Some(own) => own,
            None => return format!("`{other}`, {file}"),
        },
    };
    format!("`{architecture}.{own}`, {file}")
}
