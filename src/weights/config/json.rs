//! Reads a [`Config`] from `config.json` and `generation_config.json`.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::quantization::refuse_other_methods;
use super::{Config, RopeLayout};
use crate::{Error, Result, files};

/// The relevant keys. A key has a default if transformers' `LlamaConfig` has one and real files omit the key;
/// a missing ε or width is an error, not a guess.
#[derive(Deserialize)]
struct Raw {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    vocab_size: usize,
    max_position_embeddings: usize,
    rms_norm_eps: f64,
    rope_theta: Option<f64>,
    /// transformers 5 stores θ and the kind of scaling here; …
    rope_parameters: Option<Map<String, Value>>,
    /// … transformers 4 stores the kind of scaling here.
    rope_scaling: Option<Map<String, Value>>,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default = "one")]
    bos_token_id: Option<u32>,
    #[serde(default = "two")]
    eos_token_id: Option<Ids>,
}

fn one() -> Option<u32> {
    Some(1)
}

fn two() -> Option<Ids> {
    Some(Ids::One(2))
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Ids {
    One(u32),
    Many(Vec<u32>),
}

impl From<Ids> for Vec<u32> {
    fn from(ids: Ids) -> Self {
        match ids {
            Ids::One(id) => vec![id],
            Ids::Many(ids) => ids,
        }
    }
}

#[derive(Deserialize)]
struct Generation {
    eos_token_id: Option<Ids>,
}

/// Reads a model's configuration. `origin` names the file in messages.
///
/// The end tokens are those of both files together. If `config.json` does not contain `bos_token_id` or
/// `eos_token_id`, they are 1 and 2, and there is none if the value is `null`; the default `rope_theta` is
/// 1e4.
///
/// # Errors
/// When the text is not JSON, lacks a key, names an architecture other than Llama, or requires something that
/// changes the arithmetic and is not supported yet.
pub(in super::super) fn from_json(text: &str, generation: Option<&str>, origin: &str) -> Result<Config> {
    let bad = |why: String| Error::file(origin, why, "pass the model's own, unedited config.json");
    let object: Map<String, Value> = files::json(text).map_err(|e| bad(e.to_string()))?;
    refuse_other_models(&object, origin)?;
    let raw: Raw = serde_json::from_value(Value::Object(object)).map_err(|e| bad(e.to_string()))?;

    for (key, rope) in [("rope_scaling", &raw.rope_scaling), ("rope_parameters", &raw.rope_parameters)] {
        refuse_scaled_rope(key, rope.as_ref(), origin)?;
    }
    let inner_theta = raw.rope_parameters.as_ref().and_then(|rope| rope.get("rope_theta")?.as_f64());
    let mut eos: Vec<u32> = raw.eos_token_id.map(Vec::from).unwrap_or_default();
    if let Some(text) = generation {
        let file: Generation = files::json(text).map_err(|e| {
            Error::file(origin, format!("generation_config.json next to it: {e}"), "fetch it again")
        })?;
        eos.extend(file.eos_token_id.map(Vec::from).unwrap_or_default());
    }
    eos.sort_unstable();
    eos.dedup();
    let heads = raw.num_attention_heads;
    let head_dim = match raw.head_dim {
        Some(width) => width,
        None => {
            raw.hidden_size.checked_div(heads).filter(|width| width * heads == raw.hidden_size).ok_or_else(
                || bad(format!("hidden_size {} is not a multiple of {heads} heads", raw.hidden_size)),
            )?
        }
    };
    Ok(Config {
        hidden_size: raw.hidden_size,
        intermediate_size: raw.intermediate_size,
        num_hidden_layers: raw.num_hidden_layers,
        num_attention_heads: heads,
        num_key_value_heads: raw.num_key_value_heads.unwrap_or(heads),
        head_dim,
        vocab_size: raw.vocab_size,
        max_position_embeddings: raw.max_position_embeddings,
        rms_norm_eps: raw.rms_norm_eps,
        rope_theta: inner_theta.or(raw.rope_theta).unwrap_or(1e4),
        tie_word_embeddings: raw.tie_word_embeddings,
        bos_token_id: raw.bos_token_id,
        eos_token_ids: eos,
        rope_layout: RopeLayout::HalfSplit,
    })
}

fn refuse_other_models(config: &Map<String, Value>, origin: &str) -> Result<()> {
    let refuse = |key: &str, value: &Value, hint: &str| {
        Err(Error::file(origin, format!("{key} {value} is not supported"), hint))
    };
    let only_llama = "only Llama is supported: model_type \"llama\", architecture \"LlamaForCausalLM\"";
    let model_type = config.get("model_type");
    let architectures = config.get("architectures").filter(|list| !list.is_null());
    match (model_type, architectures) {
        (None, None) => {
            return Err(Error::file(origin, "contains neither model_type nor architectures", only_llama));
        }
        (Some(kind), _) if kind != "llama" => return refuse("model_type", kind, only_llama),
        (_, Some(list)) if !list.as_array().is_some_and(|l| l.iter().any(|a| a == "LlamaForCausalLM")) => {
            return refuse("architectures", list, only_llama);
        }
        _ => {}
    }
    let not_yet = "this setting changes what the model computes, and is not supported yet";
    // False, missing or null is fine.
    for key in ["attention_bias", "mlp_bias"] {
        match config.get(key) {
            None | Some(Value::Null | Value::Bool(false)) => {}
            Some(value) => return refuse(key, value, not_yet),
        }
    }
    refuse_other_methods(config, origin)?;
    match config.get("hidden_act") {
        None | Some(Value::Null) => Ok(()),
        Some(act) if act == "silu" => Ok(()),
        Some(act) => refuse("hidden_act", act, not_yet),
    }
}

/// Scaled rotations (Llama 3.1's and others) change every angle; ignoring them would give a wrong model.
fn refuse_scaled_rope(key: &str, rope: Option<&Map<String, Value>>, origin: &str) -> Result<()> {
    let Some(rope) = rope else { return Ok(()) };
    let kind = rope.get("rope_type").or_else(|| rope.get("type"));
    let plain = kind.is_none_or(|kind| kind.is_null() || kind == "default");
    let whole = rope.get("partial_rotary_factor").is_none_or(|part| part.as_f64() == Some(1.0));
    // A factor without a kind shows that scaling was intended.
    if plain && whole && (kind.is_some() || !rope.contains_key("factor")) {
        return Ok(());
    }
    let rope = Value::Object(rope.clone());
    Err(Error::file(
        origin,
        format!("{key} {rope} is not supported yet"),
        "only unscaled rotations are supported: rope_type \"default\"",
    ))
}
