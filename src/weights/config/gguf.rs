//! Reads a [`Config`] from GGUF metadata.

mod keys;
mod layers;
mod rope;
mod settings;

use std::collections::BTreeSet;

use serde_json::Value;

use self::keys::Keys;
use self::layers::Layers;
use super::super::gguf::Gguf;
use super::family::Family;
use super::harmless::Sizes;
use super::layers::MOST_LAYERS;
use super::{ATTENTION, Config, MLP, Parsed, unknown_keys};
use crate::{Error, Result};

/// End-of-turn tokens by their text, for files that do not name one; llama.cpp searches by text too. Only the
/// first one in the vocabulary is used, so that a chat model gets the end of its turns and not also the end
/// of its training documents.
const END_OF_TURN: &[&str] =
    &["<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<EOT>"];

/// Reads a model's configuration.
///
/// The layout is the one that llama.cpp's converter writes for the architecture. A model is tied if and only
/// if it has no `output.weight`. The end tokens are `tokenizer.ggml.eos_token_id`,
/// `…eot_token_id` and `…eom_token_id`; without an `eot_token_id`, the vocabulary is searched for a
/// well-known text. If `rope.freq_base` is missing, it is 1e4, as in llama.cpp.
///
/// # Errors
/// When a key is missing or has the wrong type, the architecture is unknown, or the file requires
/// something that changes the arithmetic and is not supported yet.
pub(in super::super) fn from_gguf(file: &Gguf) -> Result<Parsed> {
    let keys = Keys { file, family: family(file)? };
    let needed = |key: &str| keys.needed_size(&keys.own(key));
    let size = |key: &str| keys.size(&keys.own(key));
    let hidden_size = needed("embedding_length")?;
    let heads = needed("attention.head_count")?;
    let rotated = size("rope.dimension_count")?;
    let head_dim = match size("attention.key_length")?.or(rotated) {
        Some(width) => width,
        None => {
            hidden_size.checked_div(heads).ok_or_else(|| keys.missing(&keys.own("attention.key_length")))?
        }
    };
    let values = size("attention.value_length")?;
    for (key, width) in [("rope.dimension_count", rotated), ("attention.value_length", values)] {
        if width.is_some_and(|width| width != head_dim) {
            let stated = if size("attention.key_length")?.is_some() {
                format!("metadata `{}` is {head_dim}", keys.own("attention.key_length"))
            } else {
                format!("heads are {head_dim} wide")
            };
            return Err(keys.wrong(&keys.own(key), &format!("{stated}; other widths are not supported yet")));
        }
    }
    let eps = &keys.own("attention.layer_norm_rms_epsilon");
    let rows = file.shape("model.embed_tokens.weight").map(|shape| shape[0]);
    let tokens = file.metadata_len("tokenizer.ggml.tokens").map(|n| n as usize);
    let (layers, context) = (needed("block_count")?, needed("context_length")?);
    let unknown = settings::refuse_others(keys, &Sizes { head_dim, layers, context })?;
    let Layers { window, types, local_theta } = layers::read(keys, layers.min(MOST_LAYERS))?;
    let config = Config {
        family: keys.family,
        hidden_size,
        intermediate_size: needed("feed_forward_length")?,
        num_hidden_layers: layers,
        num_attention_heads: heads,
        num_key_value_heads: size("attention.head_count_kv")?.unwrap_or(heads),
        head_dim,
        vocab_size: size("vocab_size")?
            .or(rows)
            .or(tokens)
            .ok_or_else(|| keys.missing(&keys.own("vocab_size")))?,
        max_position_embeddings: context,
        rms_norm_eps: keys.number(eps)?.ok_or_else(|| keys.missing(eps))?,
        rope_theta: rope::theta(keys)?,
        rope_scaling: rope::scaling(keys, head_dim)?,
        local_rope_theta: local_theta,
        sliding_window: window,
        layer_types: types,
        query_pre_attn_scalar: layers::query_scalar(keys, (hidden_size, heads, layers))?
            .filter(|scalar| *scalar != head_dim as f64),
        attn_logit_softcapping: layers::softcap(keys, "attn_logit_softcapping", 50.0)?,
        final_logit_softcapping: layers::softcap(keys, "final_logit_softcapping", 30.0)?,
        tie_word_embeddings: file.shape("lm_head.weight").is_none(),
        biases: biases(file)?,
        bos_token_id: keys.token("tokenizer.ggml.bos_token_id")?,
        eos_token_ids: end_tokens(keys)?,
        rope_layout: keys.family.gguf_layout(),
    };
    let mut notes = unknown_keys("the metadata", &unknown);
    notes.extend(window_not_stated(keys)?);
    Ok(Parsed { config, notes })
}

/// A note if the file's name for the model says that it is a Mistral.
fn window_not_stated(keys: Keys<'_>) -> Result<Option<String>> {
    for key in ["general.name", "general.basename", "general.base_model.0.name"] {
        if let Some(name) = keys.text(key)?.filter(|name| name.to_lowercase().contains("mistral")) {
            return Ok(Some(format!(
                "{key} is {name:?}: if this model has a sliding window, as Mistral 7B v0.1 has, the file does not \
                 state it, and queries see all earlier tokens, as in llama.cpp"
            )));
        }
    }
    Ok(None)
}

fn end_tokens(keys: Keys<'_>) -> Result<Vec<u32>> {
    let named = |end: &str| keys.token(&format!("tokenizer.ggml.{end}_token_id"));
    let (eos, eot, eom) = (named("eos")?, named("eot")?, named("eom")?);
    let mut ids: Vec<u32> = [eos, eot, eom].into_iter().flatten().collect();
    if eot.is_none() {
        let vocabulary = keys.file.metadata("tokenizer.ggml.tokens");
        let vocabulary = vocabulary.as_ref().and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let found = END_OF_TURN.iter().find_map(|text| vocabulary.iter().position(|token| token == text));
        ids.extend(found.map(|id| id as u32));
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// The family that the architecture names.
fn family(file: &Gguf) -> Result<Family> {
    let key = "general.architecture";
    // Only messages use the family here.
    let keys = Keys { file, family: Family::Llama };
    let name = keys.text(key)?.ok_or_else(|| keys.missing(key))?;
    let unknown = || keys.wrong(key, &format!("the supported architectures are {}", Family::architectures()));
    Family::of_gguf(&name).ok_or_else(unknown)
}

/// The modules with a bias: those that have one in the first layer.
///
/// # Errors
/// The file has another bias.
fn biases(file: &Gguf) -> Result<BTreeSet<String>> {
    let modules = ATTENTION.into_iter().chain(MLP);
    let found: BTreeSet<String> = modules
        .filter(|module| file.shape(&format!("model.layers.0.{module}.bias")).is_some())
        .map(str::to_owned)
        .collect();
    let known = |name: &str| {
        let in_layer = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
        in_layer.and_then(|(_, part)| part.strip_suffix(".bias")).is_some_and(|module| found.contains(module))
    };
    match file.names().find(|name| name.ends_with(".bias") && !known(name)) {
        None => Ok(found),
        Some(bias) => Err(Error::file(
            file.path(),
            format!("`{bias}`: a bias there is not supported"),
            "ignoring it would give wrong results; use a model without it",
        )),
    }
}
