//! Reads a [`Config`] from `config.json` and `generation_config.json`.

mod keys;
mod rope;
mod settings;

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use self::keys::Object;
use self::rope::Rotation;
use super::harmless::Sizes;
use super::quantization::refuse_other_methods;
use super::value::shown;
use super::{ATTENTION, Config, MLP, Parsed, RopeLayout, unknown_keys};
use crate::{Error, Result, files};

/// Reads a model's configuration. `origin` names the file in messages.
///
/// A key has a default if transformers' `LlamaConfig` has one and real files omit the key; a missing ε or
/// width is an error, not a guess. The end tokens are those of both files together. If `config.json` does not
/// contain `bos_token_id` or `eos_token_id`, they are 1 and 2, and there is none if the value is null or -1.
///
/// # Errors
/// When the text is not JSON, lacks a key, names an architecture other than Llama, or requires something that
/// changes the arithmetic and is not supported yet.
pub(in super::super) fn from_json(text: &str, generation: Option<&str>, origin: &str) -> Result<Parsed> {
    let object = |text: &str, file: &str| -> Result<Map<String, Value>> {
        files::python_json(text).map_err(|error| Error::file(file, error, "fetch the file again"))
    };
    let entries = object(text, origin)?;
    let config = Object::new(&entries, origin);
    refuse_other_models(&entries, origin)?;
    refuse_other_methods(&entries, origin)?;

    let mut eos = config.tokens("eos_token_id", Some(2))?;
    if let Some(text) = generation {
        let folder = origin.strip_suffix("config.json").unwrap_or_default();
        let file = format!("{folder}generation_config.json");
        let entries = object(text, &file)?;
        eos.extend(Object::new(&entries, &file).tokens("eos_token_id", None)?);
    }
    eos.sort_unstable();
    eos.dedup();
    let (hidden, heads) = (config.needed_size("hidden_size")?, config.needed_size("num_attention_heads")?);
    let even = || hidden.checked_div(heads).filter(|width| width * heads == hidden);
    let uneven =
        || config.wrong("hidden_size", &format!("it is not a multiple of num_attention_heads, {heads}"));
    let head_dim = match config.size("head_dim")? {
        Some(width) => width,
        None => even().ok_or_else(uneven)?,
    };
    let context = config.needed_size("max_position_embeddings")?;
    let Rotation { theta, scaling } = rope::read(&config, context)?;
    let layers = config.needed_size("num_hidden_layers")?;
    let unknown = settings::refuse_others(&config, &Sizes { head_dim, layers, context })?;
    let notes = unknown_keys("config.json", &unknown);
    let config = Config {
        hidden_size: hidden,
        intermediate_size: config.needed_size("intermediate_size")?,
        num_hidden_layers: layers,
        num_attention_heads: heads,
        num_key_value_heads: config.size("num_key_value_heads")?.unwrap_or(heads),
        head_dim,
        vocab_size: config.needed_size("vocab_size")?,
        max_position_embeddings: context,
        rms_norm_eps: config.needed_number("rms_norm_eps")?,
        rope_theta: theta,
        rope_scaling: scaling,
        tie_word_embeddings: config.flag("tie_word_embeddings")?,
        biases: biases(&config)?,
        bos_token_id: config.token("bos_token_id", Some(1))?,
        eos_token_ids: eos,
        rope_layout: RopeLayout::HalfSplit,
    };
    Ok(Parsed { config, notes })
}

/// The modules with a bias.
fn biases(config: &Object<'_>) -> Result<BTreeSet<String>> {
    let mut modules = BTreeSet::new();
    for (key, concerned) in [("attention_bias", &ATTENTION[..]), ("mlp_bias", &MLP[..])] {
        if config.flag(key)? {
            modules.extend(concerned.iter().map(|&module| module.to_owned()));
        }
    }
    Ok(modules)
}

fn refuse_other_models(config: &Map<String, Value>, origin: &str) -> Result<()> {
    let refuse = |key: &str, value: &Value, hint: &str| {
        Err(Error::file(origin, format!("{key} {} is not supported", shown(value)), hint))
    };
    let only_llama = "only Llama is supported: model_type \"llama\", architecture \"LlamaForCausalLM\"";
    let model_type = config.get("model_type");
    let architectures = config.get("architectures").filter(|list| !list.is_null());
    match (model_type, architectures) {
        (None, None) => Err(Error::file(origin, "contains neither model_type nor architectures", only_llama)),
        (Some(kind), _) if kind != "llama" => refuse("model_type", kind, only_llama),
        (_, Some(list)) if !list.as_array().is_some_and(|l| l.iter().any(|a| a == "LlamaForCausalLM")) => {
            refuse("architectures", list, only_llama)
        }
        _ => Ok(()),
    }
}
