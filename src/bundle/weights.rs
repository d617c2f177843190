//! Selects the weights that one operation needs.

use serde_json::{Value, json};

use crate::arrays;
use crate::probe::{Kind, Site};
use crate::weights::{BIASES, Config, Family, PART, PER_PAIR, RopeScaling, Weights};
use crate::{Error, Result};

/// The weights that `site` is computed with, and those in its layer that ports might use by mistake.
pub(super) fn of(site: Site, config: &Config) -> Vec<String> {
    let in_layer = |names: &[&str]| {
        let Some(layer) = site.layer else { return vec![] };
        let bias = |name: &&&str| config.biases.contains(**name);
        let biases = names.iter().filter(bias).map(|name| format!("model.layers.{layer}.{name}.bias"));
        let weight = |name: &&str| format!("model.layers.{layer}.{name}.weight");
        let known: Vec<String> = config.tensors().into_iter().map(|(name, _)| name).collect();
        names.iter().map(weight).filter(|name| known.contains(name)).chain(biases).collect()
    };
    match site.kind {
        Kind::Embed => vec!["model.embed_tokens.weight".into()],
        Kind::CappedLogits => vec![],
        Kind::Logits if config.tie_word_embeddings => vec!["model.embed_tokens.weight".into()],
        Kind::Logits => vec!["lm_head.weight".into()],
        Kind::FinalNorm => vec!["model.norm.weight".into()],
        Kind::InputNorm | Kind::PostNorm | Kind::FfnNorm | Kind::FfnPostNorm => in_layer(&[
            "input_layernorm",
            "post_attention_layernorm",
            "pre_feedforward_layernorm",
            "post_feedforward_layernorm",
        ]),
        Kind::QNorm | Kind::KNorm => in_layer(&["self_attn.q_norm", "self_attn.k_norm"]),
        Kind::QProj | Kind::KProj | Kind::VProj | Kind::OProj => {
            in_layer(&["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"])
        }
        Kind::Gate | Kind::Up | Kind::Down => in_layer(&["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]),
        Kind::QRope | Kind::KRope | Kind::Scores | Kind::Probs | Kind::Context => vec![],
        Kind::PostNormInput | Kind::FfnNormInput | Kind::Act | Kind::Block => vec![],
    }
}

/// A `config.json` that declares that the tensors next to it are only part of a model. What the config of its family
/// cannot say has keys of our own.
pub(super) fn config(config: &Config, site: Site) -> Vec<u8> {
    let ends = (!config.eos_token_ids.is_empty()).then_some(&config.eos_token_ids);
    let layers_differ = matches!(config.family, Family::Gemma2 | Family::Gemma3);
    let layer_types: Vec<&str> = config.layer_types.iter().map(|of| of.name()).collect();
    let text = json!({
        "architectures": [config.family.class()],
        "model_type": config.family.name(),
        "layer_types": layers_differ.then_some(layer_types),
        "query_pre_attn_scalar": config.query_pre_attn_scalar,
        "attn_logit_softcapping": config.attn_logit_softcapping,
        "final_logit_softcapping": config.final_logit_softcapping,
        "rope_local_base_freq": config.local_rope_theta,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_position_embeddings,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta,
        "rope_scaling": scaling(&config.rope_scaling),
        "sliding_window": config.sliding_window,
        (BIASES): config.biases,
        "tie_word_embeddings": config.tie_word_embeddings,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": ends,
        (PART): site.to_string(),
    });
    format!("{text:#}\n").into_bytes()
}

/// The scaling of the rotation, as transformers 4 spells it; the factors of a GGUF file have a type of our own.
fn scaling(scaling: &RopeScaling) -> Value {
    match scaling {
        RopeScaling::None => Value::Null,
        RopeScaling::PerPair { factors } => json!({ "rope_type": PER_PAIR, "factors": factors }),
        RopeScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": original_max_position_embeddings,
        }),
    }
}

/// The tensors with these names as a safetensors file, in f32 and in Hugging Face's row order. Without
/// weights, the file has no tensors.
pub(super) fn safetensors(weights: Option<&Weights>, names: &[String]) -> Result<Vec<u8>> {
    let tensor = |(weights, name): (&Weights, &String)| {
        let tensor = weights.canonical(name)?;
        Ok((name.clone(), tensor.dims().to_vec(), tensor.flatten_all()?.to_vec1()?))
    };
    let tensors = weights.iter().flat_map(|weights| names.iter().map(move |name| (*weights, name)));
    let tensors = tensors.map(tensor).collect::<Result<Vec<_>>>()?;
    let failed = |error| Error::internal(format!("bundle: {error}"));
    arrays::safetensors(&tensors).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rstest::rstest;

    use super::*;

    #[rstest]
    fn a_part_has_the_config_of_its_model(
        #[values(
            "tiny-llama",
            "tiny-llama3",
            "tiny-linear",
            "tiny-qwen2",
            "tiny-mistral",
            "tiny-qwen3",
            "tiny-gemma2",
            "tiny-gemma3"
        )]
        model: &str,
    ) {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        let own = Weights::open(&fixtures.join(model)).unwrap().config().clone();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), config(&own, Site::model(Kind::Logits))).unwrap();
        std::fs::write(dir.path().join("model.safetensors"), safetensors(None, &[]).unwrap()).unwrap();
        assert_eq!(Weights::open_part(dir.path()).unwrap().config(), &own);
    }
}
