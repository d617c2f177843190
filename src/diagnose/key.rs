//! Names of config keys as the user's own file has them.

use crate::weights::{RopeScaling, Weights};

/// The key in the file that was read, and that file, for `key`, a Hugging Face name.
pub fn key_in(weights: &Weights, key: &'static str) -> String {
    if weights.gguf().is_none() {
        return format!("`{key}`, config.json");
    }
    let own = match key {
        "rope_scaling" => match weights.config().rope_scaling {
            RopeScaling::PerPair { .. } => "rope_freqs.weight",
            RopeScaling::None | RopeScaling::Linear { .. } | RopeScaling::Llama3 { .. } => {
                "llama.rope.scaling.factor"
            }
        },
        "rope_theta" => "llama.rope.freq_base",
        "rms_norm_eps" => "llama.attention.layer_norm_rms_epsilon",
        "head_dim" => "llama.attention.key_length",
        "num_attention_heads" => "llama.attention.head_count",
        "num_key_value_heads" => "llama.attention.head_count_kv",
        "eos_token_ids" => "tokenizer.ggml.eos_token_id",
        "bos_token_id" => "tokenizer.ggml.bos_token_id",
        "max_position_embeddings" => "llama.context_length",
        other => other,
    };
    let file = weights.origin().file_name().unwrap_or_default().to_string_lossy();
    format!("`{own}`, {file}")
}
