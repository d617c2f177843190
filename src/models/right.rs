//! The config that a model is checked against: the one that transformers reads, because a mistake may be in
//! the config as parsed here.

use super::Model;
use crate::Result;
use crate::reference;
use crate::weights::{Config, Family, LayerType, RopeLayout, RopeScaling, Weights};

/// The weights of `model`, with the config that transformers reads from it, if that config is stored.
///
/// # Errors
/// The stored facts of the references are damaged.
pub fn right_weights(model: &Model) -> Result<Weights> {
    match &model.fixture {
        Some(fixture) if fixture.has_facts()? => Ok(corrected(&model.weights, &fixture.facts()?.config)),
        // References that are only cases contain no config.
        Some(_) | None => Ok(model.weights.clone()),
    }
}

/// The weights with the config that transformers reads. The file's own values are kept for its family, its row
/// layout, the context length and the end tokens.
pub fn corrected(weights: &Weights, theirs: &reference::Config) -> Weights {
    let own = weights.config();
    let config = Config {
        vocab_size: own.vocab_size,
        max_position_embeddings: own.max_position_embeddings,
        bos_token_id: own.bos_token_id,
        eos_token_ids: own.eos_token_ids.clone(),
        rope_layout: own.rope_layout,
        family: own.family,
        ..config_without_weights(theirs)
    };
    let mut weights = weights.clone();
    weights.set_config(config);
    weights
}

/// The config of a model without weights, as transformers reads it.
pub fn config_without_weights(theirs: &reference::Config) -> Config {
    Config {
        family: Family::named(&theirs.model_type).unwrap_or(Family::Llama),
        hidden_size: theirs.hidden_size,
        intermediate_size: theirs.intermediate_size,
        num_hidden_layers: theirs.num_hidden_layers,
        num_attention_heads: theirs.num_attention_heads,
        num_key_value_heads: theirs.num_key_value_heads,
        head_dim: theirs.head_dim,
        vocab_size: theirs.vocab_size,
        max_position_embeddings: theirs.max_position_embeddings,
        rms_norm_eps: theirs.rms_norm_eps,
        rope_theta: theirs.rope_theta,
        rope_scaling: scaling(theirs),
        local_rope_theta: theirs.local_rope_theta,
        sliding_window: theirs.sliding_window,
        layer_types: layer_types(theirs),
        query_pre_attn_scalar: theirs.query_pre_attn_scalar,
        attn_logit_softcapping: theirs.attn_logit_softcapping,
        final_logit_softcapping: theirs.final_logit_softcapping,
        tie_word_embeddings: theirs.tie_word_embeddings,
        biases: theirs.biases.clone(),
        bos_token_id: theirs.bos_token_id,
        eos_token_ids: theirs.eos_token_ids.clone(),
        rope_layout: RopeLayout::HalfSplit,
    }
}

/// The types of the layers, as transformers reads them. References without a list are of a model whose layers are
/// alike.
fn layer_types(theirs: &reference::Config) -> Vec<LayerType> {
    let alike = if theirs.sliding_window.is_some() { LayerType::Sliding } else { LayerType::Full };
    match &theirs.layer_types {
        None => vec![alike; theirs.num_hidden_layers],
        Some(listed) => listed.iter().map(|name| LayerType::named(name).unwrap_or_default()).collect(),
    }
}

/// The scaling of the rotation, as transformers reads it.
pub fn scaling(theirs: &reference::Config) -> RopeScaling {
    match theirs.rope_scaling {
        None => RopeScaling::None,
        Some(reference::RopeScaling::Linear { factor }) => RopeScaling::Linear { factor },
        Some(reference::RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        }) => RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        },
    }
}
