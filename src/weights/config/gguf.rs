//! Reads a [`Config`] from GGUF metadata.

use serde_json::Value;

use super::super::gguf::Gguf;
use super::{Config, RopeLayout};
use crate::{Error, Result};

/// End-of-turn tokens by their text, for files that do not name one; llama.cpp searches by text too. Only the
/// first one in the vocabulary is used, so that a chat model gets the end of its turns and not also the end
/// of its training documents.
const END_OF_TURN: &[&str] =
    &["<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<EOT>"];

/// Reads a model's configuration.
///
/// The layout is [`RopeLayout::Interleaved`], which llama.cpp's converter writes for `llama`. A model is tied
/// if and only if it has no `output.weight`. The end tokens are `tokenizer.ggml.eos_token_id`,
/// `…eot_token_id` and `…eom_token_id`; without an `eot_token_id`, the vocabulary is searched for a
/// well-known text. If `rope.freq_base` is missing, it is 1e4, as in llama.cpp.
///
/// # Errors
/// When a key is missing or has the wrong type, the architecture is not `llama`, or the file requires
/// something that changes the arithmetic and is not supported yet.
pub(in super::super) fn from_gguf(file: &Gguf) -> Result<Config> {
    refuse_other_models(file)?;
    let size = |key: &str| {
        let key = format!("llama.{key}");
        match file.metadata(&key) {
            None => Ok(None),
            Some(value) => match value.as_u64().map(usize::try_from) {
                Some(Ok(size)) => Ok(Some(size)),
                _ => Err(wrong(file, &key, &value, "a single integer is needed")),
            },
        }
    };
    let needed = |key: &str| size(key)?.ok_or_else(|| missing(file, &format!("llama.{key}")));
    let real = |key: &str| file.metadata(key).and_then(|value| value.as_f64());
    let token = |key: &str| file.metadata(key).and_then(|id| u32::try_from(id.as_u64()?).ok());

    let hidden_size = needed("embedding_length")?;
    let heads = needed("attention.head_count")?;
    let rotated = size("rope.dimension_count")?;
    let head_dim = match size("attention.key_length")?.or(rotated) {
        Some(width) => width,
        None => hidden_size.checked_div(heads).ok_or_else(|| missing(file, "llama.attention.key_length"))?,
    };
    for (key, width) in
        [("rope.dimension_count", rotated), ("attention.value_length", size("attention.value_length")?)]
    {
        if let Some(width) = width.filter(|&width| width != head_dim) {
            let why = format!("heads are {head_dim} wide; other widths are not supported yet");
            return Err(wrong(file, &format!("llama.{key}"), &Value::from(width), &why));
        }
    }
    let eps = "llama.attention.layer_norm_rms_epsilon";
    let rows = file.shape("model.embed_tokens.weight").map(|shape| shape[0]);
    let tokens = file.metadata_len("tokenizer.ggml.tokens").map(|n| n as usize);
    Ok(Config {
        hidden_size,
        intermediate_size: needed("feed_forward_length")?,
        num_hidden_layers: needed("block_count")?,
        num_attention_heads: heads,
        num_key_value_heads: size("attention.head_count_kv")?.unwrap_or(heads),
        head_dim,
        vocab_size: size("vocab_size")?
            .or(tokens)
            .or(rows)
            .ok_or_else(|| missing(file, "llama.vocab_size"))?,
        max_position_embeddings: needed("context_length")?,
        rms_norm_eps: real(eps).ok_or_else(|| missing(file, eps))?,
        rope_theta: real("llama.rope.freq_base").unwrap_or(1e4),
        tie_word_embeddings: file.shape("lm_head.weight").is_none(),
        bos_token_id: token("tokenizer.ggml.bos_token_id"),
        eos_token_ids: end_tokens(file, token),
        rope_layout: RopeLayout::Interleaved,
    })
}

fn end_tokens(file: &Gguf, token: impl Fn(&str) -> Option<u32>) -> Vec<u32> {
    let named = ["eos", "eot", "eom"].map(|end| token(&format!("tokenizer.ggml.{end}_token_id")));
    let mut ids: Vec<u32> = named.into_iter().flatten().collect();
    if named[1].is_none() {
        let vocabulary = file.metadata("tokenizer.ggml.tokens");
        let vocabulary = vocabulary.as_ref().and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let found = END_OF_TURN.iter().find_map(|text| vocabulary.iter().position(|token| token == text));
        ids.extend(found.map(|id| id as u32));
    }
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn refuse_other_models(file: &Gguf) -> Result<()> {
    match file.metadata("general.architecture") {
        None => return Err(missing(file, "general.architecture")),
        Some(name) if name == "llama" => {}
        Some(name) => return Err(wrong(file, "general.architecture", &name, "only \"llama\" is supported")),
    }
    // Keys that change the arithmetic, and the value at which they do not.
    let plain = [
        ("llama.rope.scaling.type", Value::from("none")),
        ("llama.rope.scaling.factor", Value::from(1.0)),
        ("llama.rope.scale_linear", Value::from(1.0)),
        ("llama.expert_count", Value::from(0)),
        ("llama.attention.causal", Value::from(true)),
        ("llama.use_parallel_residual", Value::from(false)),
    ];
    for (key, plain) in plain {
        if let Some(value) = file.metadata(key).filter(|value| *value != plain) {
            return Err(wrong(file, key, &value, &format!("only {plain} is supported yet")));
        }
    }
    let altering = file.names().find(|name| *name == "rope_freqs.weight" || name.ends_with(".bias"));
    match altering {
        Some("rope_freqs.weight") => Err(Error::file(
            file.path(),
            "`rope_freqs.weight`: scaled rotations, as in Llama 3.1, are not supported yet",
            "ignoring it would give wrong angles; use a model without rope scaling",
        )),
        Some(bias) => Err(Error::file(
            file.path(),
            format!("`{bias}`: biases are not supported yet"),
            "ignoring it would give wrong results; use a model without biases",
        )),
        None => Ok(()),
    }
}

fn missing(file: &Gguf, key: &str) -> Error {
    Error::file(file.path(), format!("metadata `{key}` is missing"), "convert the model again with llama.cpp")
}

fn wrong(file: &Gguf, key: &str, value: &Value, why: &str) -> Error {
    let mut value = value.to_string();
    if value.len() > 60 {
        value = value.chars().take(60).chain("…".chars()).collect();
    }
    Error::file(
        file.path(),
        format!("metadata `{key}` is {value}: {why}"),
        "use a plain Llama converted with llama.cpp",
    )
}
