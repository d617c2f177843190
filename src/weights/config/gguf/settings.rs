//! The keys of the architecture (`llama.*`) in GGUF metadata that are not numbers of a `Config`: those that change what is computed, and
//! those that do not. Same rules as for `config.json`; in addition, llama.cpp takes 0 for an absent number.

use super::super::family::Family;
use super::super::harmless::Harmless::{self, Off, OffOrWholeContext, On, One, RootOfHeadDim};
use super::super::harmless::Sizes;
use super::super::value::{finite, shown};
use super::keys::Keys;
use crate::Result;

/// The settings that change what a model computes, without the architecture in front.
const SETTINGS: &[(&str, Harmless)] = &[
    ("attention.causal", On),
    ("attention.scale", RootOfHeadDim),
    ("attention.sliding_window", OffOrWholeContext),
    ("attention.clamp_kqv", Off),
    ("attention.max_alibi_bias", Off),
    ("attention.temperature_scale", Off),
    ("attention.temperature_length", Off),
    ("attention.q_lora_rank", Off),
    ("attention.kv_lora_rank", Off),
    ("attn_logit_softcapping", Off),
    ("final_logit_softcapping", Off),
    ("logit_scale", One),
    ("residual_scale", One),
    ("embedding_scale", One),
    ("rope.dimension_sections", Off),
    ("rope.scaling.attn_factor", One),
    ("expert_count", Off),
    ("expert_shared_count", Off),
    ("expert_feed_forward_length", Off),
    ("leading_dense_block_count", Off),
    ("interleave_moe_layer_step", Off),
    ("no_rope_layer_step", Off),
    ("use_parallel_residual", Off),
    ("swin_norm", Off),
];

/// The settings of a Gemma that its `Config` contains.
const GEMMA: &[&str] = &[
    "attention.scale",
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "rope.freq_base_swa",
];

/// Whether a setting is a number of this family's `Config`.
fn is_read(family: Family, key: &str) -> bool {
    let gemma = matches!(family, Family::Gemma2 | Family::Gemma3) && GEMMA.contains(&key);
    gemma
        && !(family == Family::Gemma3 && key == "attn_logit_softcapping")
        && !(family == Family::Gemma2 && key == "rope.freq_base_swa")
}

/// Keys that a `Config` contains, and keys that change nothing in a forward pass of a Llama.
const IGNORED: &[&str] = &[
    "embedding_length",
    "feed_forward_length",
    "block_count",
    "context_length",
    "vocab_size",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "attention.layer_norm_epsilon",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.type",
    "rope.scaling.factor",
    // Only with other types of scaling, which are refused.
    "rope.scaling.original_context_length",
    "rope.scaling.finetuned",
    "rope.scaling.yarn_log_multiplier",
    "rope.scaling.yarn_ext_factor",
    "rope.scaling.yarn_attn_factor",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    // Only beside experts.
    "expert_used_count",
    "expert_weights_scale",
    "expert_weights_norm",
    "expert_gating_func",
    "tensor_data_layout",
    "pooling_type",
    "features_length",
    "attention.group_norm_epsilon",
    "attention.group_norm_groups",
];

/// Refuses every setting that changes what a Llama computes. Returns the unknown keys with their values.
///
/// # Errors
/// There is such a setting: the error names its key and value.
pub(super) fn refuse_others(keys: Keys<'_>, sizes: &Sizes) -> Result<Vec<String>> {
    let mut unknown = Vec::new();
    let architecture = keys.own("");
    for full in keys.file.metadata_keys() {
        let Some(key) = full.strip_prefix(&architecture) else { continue };
        match SETTINGS.iter().find(|(setting, _)| *setting == key) {
            _ if is_read(keys.family, key) => {}
            Some((_, harmless)) => {
                let Some(value) = keys.value(full)? else { continue };
                if finite(&value) != Some(0.0) && !harmless.allows(&value, sizes) {
                    return Err(
                        keys.wrong(full, "it changes what the model computes, and is not supported yet")
                    );
                }
            }
            None if IGNORED.contains(&key) => {}
            None => {
                let value = keys.file.metadata_len(full).map_or_else(
                    || keys.file.metadata(full).map(|value| shown(&value)),
                    |length| Some(format!("an array of {length} values")),
                );
                unknown.push(format!("{full:?} {}", value.unwrap_or_default()));
            }
        }
    }
    Ok(unknown)
}
