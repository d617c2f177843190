//! Names of config keys as the user's own file has them.

use crate::weights::{Weights, gguf_key};

/// The key in the file that was read, and that file, for `key`, a Hugging Face name.
pub fn key_in(weights: &Weights, key: &'static str) -> String {
    if weights.gguf().is_none() {
        return format!("`{key}`, config.json");
    }
    let own = match key {
        "eos_token_ids" => "tokenizer.ggml.eos_token_id".to_owned(),
        "bos_token_id" => "tokenizer.ggml.bos_token_id".to_owned(),
        key => gguf_key(key).map_or_else(|| key.to_owned(), |own| format!("llama.{own}")),
    };
    let file = weights.origin().file_name().unwrap_or_default().to_string_lossy();
    format!("`{own}`, {file}")
}
