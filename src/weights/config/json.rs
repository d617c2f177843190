//! Reads a [`Config`] from `config.json` and `generation_config.json`.

mod keys;
mod layers;
mod rope;
mod settings;

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use self::keys::Object;
use self::layers::Layers;
use self::rope::Rotation;
use super::family::Family;
use super::harmless::Sizes;
use super::layers::MOST_LAYERS;
use super::quantization::refuse_other_methods;
use super::value::shown;
use super::{ATTENTION, Config, MLP, Parsed, RopeLayout, unknown_keys};
use crate::weights::BIASES;
use crate::{Error, Result, files};

/// Reads a model's configuration. `origin` names the file in messages.
///
/// A key has a default if transformers' class for the config has one and real files omit the key; a missing ε
/// or width is an error, not a guess. The end tokens are those of both files together. If `config.json` does
/// not contain `bos_token_id` or `eos_token_id`, they are those of [`Family::default_tokens`], and there is none
/// if the value is null or -1.
///
/// # Errors
/// When the text is not JSON, lacks a key, names an unknown family, or requires something that changes the
/// arithmetic and is not supported yet.
pub(in super::super) fn from_json(text: &str, generation: Option<&str>, origin: &str) -> Result<Parsed> {
    let object = |text: &str, file: &str| -> Result<Map<String, Value>> {
        files::python_json(text).map_err(|error| Error::file(file, error, "fetch the file again"))
    };
    let entries = object(text, origin)?;
    let config = Object::new(&entries, origin);
    let family = family(&entries, origin)?;
    refuse_other_methods(&entries, origin)?;

    let [bos, eos] = family.default_tokens();
    let mut eos = config.tokens("eos_token_id", eos)?;
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
    let head_dim = match config.size("head_dim")?.or(family.default_head_dim()) {
        Some(width) => width,
        None => even().ok_or_else(uneven)?,
    };
    let context = config.needed_size("max_position_embeddings")?;
    let layers = config.needed_size("num_hidden_layers")?;
    let Layers { rotation: Rotation { theta, scaling }, local_theta, window, types } =
        layers::read(&config, family, layers.min(MOST_LAYERS), context)?;
    let mut unknown = settings::refuse_others(&config, family, &Sizes { head_dim, layers, context })?;
    unknown.extend(rope::unknown_keys(&config));
    let notes = unknown_keys("config.json", &unknown);
    // A number that only a Gemma has, with transformers' default for an absent key; null means that there is none.
    let gemma = |key: &str, default: Option<f64>| match config.entries.contains_key(key) {
        _ if !family.is_gemma() => Ok(None),
        true => config.number(key),
        false => Ok(default),
    };
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
        family,
        rope_theta: theta,
        rope_scaling: scaling,
        local_rope_theta: local_theta,
        sliding_window: window,
        layer_types: types,
        query_pre_attn_scalar: gemma("query_pre_attn_scalar", Some(256.0))?.filter(|n| *n != head_dim as f64),
        attn_logit_softcapping: if family == Family::Gemma2 {
            gemma("attn_logit_softcapping", Some(50.0))?
        } else {
            None
        },
        final_logit_softcapping: gemma(
            "final_logit_softcapping",
            (family == Family::Gemma2).then_some(30.0),
        )?,
        tie_word_embeddings: config.flag("tie_word_embeddings")?.unwrap_or(family.is_tied_by_default()),
        biases: biases(&config, family)?,
        bos_token_id: config.token("bos_token_id", bos)?,
        eos_token_ids: eos,
        rope_layout: RopeLayout::HalfSplit,
    };
    Ok(Parsed { config, notes })
}

/// The modules with a bias.
fn biases(config: &Object<'_>, family: Family) -> Result<BTreeSet<String>> {
    if let Some(modules) = config.entries.get(BIASES) {
        let texts = modules.as_array().map(|list| list.iter().map(|one| one.as_str().map(str::to_owned)));
        return texts.and_then(Iterator::collect).ok_or_else(|| config.wrong(BIASES, "texts are needed"));
    }
    let modules = match family {
        Family::Llama => {
            let flag = |key, modules| {
                config.flag(key).map(|on| if on.unwrap_or_default() { modules } else { &[][..] })
            };
            [flag("attention_bias", &ATTENTION[..])?, flag("mlp_bias", &MLP[..])?].concat()
        }
        // Whatever the config says.
        Family::Qwen2 => ATTENTION[..3].to_vec(),
        Family::Qwen3 | Family::Gemma2 | Family::Gemma3 => {
            if config.flag("attention_bias")?.unwrap_or_default() { ATTENTION.to_vec() } else { vec![] }
        }
        Family::Mistral => vec![],
    };
    Ok(modules.into_iter().map(str::to_owned).collect())
}

/// The family that `model_type` and `architectures` name.
///
/// # Errors
/// They are missing, or one of them names another model.
fn family(config: &Map<String, Value>, origin: &str) -> Result<Family> {
    let supported = format!("the supported model types are {}", Family::names());
    let refuse = |key: &str, value: &Value| {
        Err(Error::file(origin, format!("{key} {} is not supported", shown(value)), &supported))
    };
    let stated = |key| config.get(key).filter(|value| !value.is_null());
    let classes = stated("architectures");
    let names = |list: &'_ Value| list.as_array().cloned().unwrap_or_else(|| vec![list.clone()]);
    let listed: Vec<Family> = classes
        .map(names)
        .into_iter()
        .flatten()
        .filter_map(|class| Family::of_class(class.as_str()?))
        .collect();
    match (stated("model_type"), classes) {
        (None, None) => Err(Error::file(origin, "contains neither model_type nor architectures", &supported)),
        (Some(kind), classes) => match kind.as_str().and_then(Family::named) {
            None => refuse("model_type", kind),
            Some(family) => match classes {
                Some(classes) if !listed.contains(&family) => {
                    let what =
                        format!("model_type is {}, but architectures is {}", shown(kind), shown(classes));
                    Err(Error::file(origin, what, &supported))
                }
                _ => Ok(family),
            },
        },
        (None, Some(classes)) => listed.first().map_or_else(|| refuse("architectures", classes), |f| Ok(*f)),
    }
}
