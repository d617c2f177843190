//! The keys of `config.json` that are not numbers of a `Config`: those that change what is computed,
//! and those that do not.
//!
//! A key of the first kind is refused, unless its value is the one with which a Llama computes as usual. A key
//! of the second kind is ignored silently. Any other key is ignored too, and a note says so.

use serde_json::Value;

use super::super::family::Family;
use super::super::harmless::Harmless::{
    self, AllLayers, AllRotated, Any, HeadDim, Never, Off, OffOrWholeContext, On, One, RootOfHeadDim, Texts,
};
use super::super::harmless::Sizes;
use super::super::value::shown;
use super::keys::Object;
use crate::Result;

/// The only activation of a Gemma. transformers ignores `hidden_act` there.
const GELU: Harmless = Texts(&["gelu_pytorch_tanh"]);
const ANY_GELU: Harmless = Texts(&["gelu_pytorch_tanh", "gelu"]);

const SILU: Harmless = Texts(&["silu", "swish"]);
const STORED: Harmless = Texts(&[
    "auto",
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "half",
    "float",
    "double",
    "torch.float16",
    "torch.bfloat16",
    "torch.float32",
    "torch.float64",
]);
const RMS: Harmless = Texts(&["rms", "rmsnorm", "rms_norm", "RMSNorm", "LlamaRMSNorm"]);

/// The settings that change what a Llama computes. Comments name the families that have them.
const SETTINGS: &[(&str, Harmless)] = &[
    ("hidden_act", SILU),
    ("hidden_activation", SILU),
    ("activation_function", SILU),
    ("mlp_hidden_act", SILU),
    ("norm_type", RMS),
    ("normalization_type", RMS),
    ("use_rms_norm", On),
    ("rms_norm", On),
    // Biases.
    ("qkv_bias", Off),
    ("use_qkv_bias", Off),
    ("attention_out_bias", Off),
    ("o_bias", Off),
    ("use_bias", Off),
    ("bias", Off),
    ("lm_head_bias", Off),
    // Norms: Qwen 3, OLMo 2, Cohere, Gemma, Megatron's 1p norms.
    ("qk_norm", Off),
    ("use_qk_norm", Off),
    ("qk_layernorm", Off),
    ("use_qk_layernorm", Off),
    ("use_post_norm", Off),
    ("add_unit_offset", Off),
    ("zero_centered_gamma", Off),
    // Rotation.
    ("rope_interleaved", Off),
    ("rope_interleave", Off),
    ("rope_traditional", Off),
    ("no_rope", Off),
    ("use_rope", On),
    ("no_rope_layers", AllRotated),
    ("no_rope_layer_interval", Off),
    ("nope_layer_interval", Off),
    ("partial_rotary_factor", One),
    ("rotary_pct", One),
    ("rotary_percent", One),
    ("rope_pct", One),
    ("rotary_dim", HeadDim),
    ("rope_dim", HeadDim),
    ("rope_ratio", One),
    ("rope_scaling_factor", One),
    ("position_embedding_type", Texts(&["rope", "rotary", "absolute"])),
    ("alibi", Off),
    ("use_alibi", Off),
    // Which keys a query sees: Mistral, Gemma, Llama 4.
    ("sliding_window", OffOrWholeContext),
    ("sliding_window_size", OffOrWholeContext),
    ("attention_window_size", OffOrWholeContext),
    ("attention_chunk_size", OffOrWholeContext),
    ("layer_types", AllLayers("full_attention")),
    ("is_causal", On),
    ("causal", On),
    ("use_bidirectional_attention", Off),
    ("attention_sinks", Off),
    ("use_attention_sinks", Off),
    // Scores: Gemma 2, Granite, Cohere, Llama 4.
    ("attention_multiplier", RootOfHeadDim),
    ("attention_scale", RootOfHeadDim),
    ("softmax_scale", RootOfHeadDim),
    ("query_pre_attn_scalar", HeadDim),
    ("attn_logit_softcapping", Off),
    ("attention_logit_softcapping", Off),
    ("attn_temperature_tuning", Off),
    ("attn_output_gate", Off),
    ("clip_qkv", Off),
    // Multipliers: Granite, MiniCPM, Cohere, Falcon H1.
    ("embedding_multiplier", One),
    ("embedding_scale", One),
    ("scale_embedding", Off),
    ("scale_emb", One),
    ("residual_multiplier", One),
    ("residual_scale", One),
    ("scale_depth", Never),
    ("dim_model_base", Never),
    ("lm_head_multiplier", One),
    ("logits_scaling", One),
    ("logit_scale", One),
    ("logits_scale", One),
    ("logit_scaling", One),
    ("final_logit_softcapping", Off),
    ("logits_soft_cap", Off),
    ("output_multiplier_scale", One),
    // How the tensors are stored, which the files of weights say too. Any other text is a misspelling, or a type with scales.
    ("dtype", STORED),
    ("torch_dtype", STORED),
    // Other widths and structures: DeepSeek, Falcon, Mixtral.
    ("v_head_dim", HeadDim),
    ("q_lora_rank", Off),
    ("kv_lora_rank", Off),
    ("num_local_experts", Off),
    ("num_experts", Off),
    ("n_routed_experts", Off),
    ("n_shared_experts", Off),
    ("moe_intermediate_size", Off),
    ("use_parallel_residual", Off),
    ("parallel_attn", Off),
    ("cross_attention_layers", Off),
    ("is_encoder_decoder", Off),
    ("add_cross_attention", Off),
    ("block_configs", Off),
    // Packed weights: MLX, compressed-tensors.
    ("quantization", Off),
    ("compression_config", Off),
];

/// The settings of a Gemma with another meaning than in a Llama.
const GEMMA: &[(&str, Harmless)] = &[
    ("hidden_activation", GELU),
    ("hidden_act", ANY_GELU),
    // Numbers of its `Config`.
    ("sliding_window", Any),
    ("layer_types", Any),
    ("query_pre_attn_scalar", Any),
    ("final_logit_softcapping", Any),
];

/// Settings of one family with another meaning than in a Llama.
fn of_family(family: Family, key: &str) -> Option<&'static Harmless> {
    match (family, key) {
        (Family::Mistral, "sliding_window") | (Family::Gemma2, "attn_logit_softcapping") => Some(&Any),
        (Family::Gemma2 | Family::Gemma3, _) => {
            GEMMA.iter().find(|(setting, _)| *setting == key).map(|(_, harmless)| harmless)
        }
        _ => None,
    }
}

/// Keys that a `Config` contains, and keys that change nothing in a forward pass.
const IGNORED: &[&str] = &[
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
    "max_position_embeddings",
    "original_max_position_embeddings",
    "rms_norm_eps",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "tie_word_embeddings",
    "attention_bias",
    "mlp_bias",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "unk_token_id",
    "sep_token_id",
    "decoder_start_token_id",
    "model_type",
    "architectures",
    "quantization_config",
    "quant_method",
    // How the model is loaded, stored or trained.
    "_name_or_path",
    "_attn_implementation",
    "_attn_implementation_internal",
    "_attn_implementation_autoset",
    "_flash_attn_2_enabled",
    "_commit_hash",
    "attn_implementation",
    "auto_map",
    "transformers_version",
    "transformers.js_config",
    "unsloth_version",
    "unsloth_fixed",
    "is_llama_config",
    "use_cache",
    "cache_implementation",
    "attention_dropout",
    "attn_pdrop",
    "embd_pdrop",
    "resid_pdrop",
    "hidden_dropout",
    "dropout",
    "layer_norm_eps",
    "layer_norm_epsilon",
    "initializer_range",
    "initializer_factor",
    "neftune_noise_alpha",
    "gradient_checkpointing",
    // transformers 4 split matrices with it; their product is the same.
    "pretraining_tp",
    // Read only if the window of attention is shorter than the context.
    "use_sliding_window",
    "max_window_layers",
    "sliding_window_pattern",
    "_sliding_window_pattern",
    "rope_local_base_freq",
    // Only beside experts.
    "num_experts_per_tok",
    "router_aux_loss_coef",
    "output_router_logits",
    "max_sequence_length",
    "model_max_length",
    "tokenizer_class",
    "chunk_size_feed_forward",
    "is_decoder",
    "tie_encoder_decoder",
    "cross_attention_hidden_size",
    "pruned_heads",
    "prefix",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "return_dict",
    "return_dict_in_generate",
    "torchscript",
    "tf_legacy_loss",
    "use_bfloat16",
    "use_flash_attn",
    "use_flash_attention_2",
    "finetuning_task",
    "problem_type",
    "task_specific_params",
    "id2label",
    "label2id",
    "num_labels",
    // Settings of text generation.
    "max_length",
    "min_length",
    "max_new_tokens",
    "do_sample",
    "early_stopping",
    "num_beams",
    "num_beam_groups",
    "diversity_penalty",
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
    "repetition_penalty",
    "length_penalty",
    "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size",
    "bad_words_ids",
    "num_return_sequences",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "remove_invalid_values",
    "exponential_decay_length_penalty",
    "suppress_tokens",
    "begin_suppress_tokens",
];

/// Refuses every setting that changes what a Llama computes. Returns the unknown keys with their values.
///
/// # Errors
/// There is such a setting: the error names its key and value.
pub(super) fn refuse_others(config: &Object<'_>, family: Family, sizes: &Sizes) -> Result<Vec<String>> {
    let windows_off = match config.entries.get("use_sliding_window") {
        Some(Value::Bool(on)) => !on,
        Some(_) | None => family.switches_windows(),
    };
    if family.switches_windows() && !windows_off {
        return Err(config.unsupported("use_sliding_window"));
    }
    let mut unknown = Vec::new();
    for (key, value) in config.entries {
        match SETTINGS.iter().find(|(setting, _)| setting == key) {
            Some((setting, _)) if windows_off && setting.starts_with("sliding_window") => {}
            Some((_, harmless))
                if value.is_null() || of_family(family, key).unwrap_or(harmless).allows(value, sizes) => {}
            Some(_) => return Err(config.unsupported(key)),
            None if IGNORED.contains(&key.as_str()) || key.starts_with("rbees_check_") => {}
            None => unknown.push(format!("{key:?} {}", shown(value))),
        }
    }
    Ok(unknown)
}
