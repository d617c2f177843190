//! Names of modules in transformers, vLLM and SGLang. A module has the name of its output.

use super::content::Content::{self, Activation, Cached, Fused, LayerInput, Normalized, NotASite, Tensor};
use super::content::Project;
use crate::probe::Kind;
use crate::recording::form::AxisOrder;
use crate::recording::part::Fused::{GateUp, Qkv};

/// huggingface/transformers, src/transformers/models/llama/modeling_llama.py. `X.input` is the input of module X.
/// `gate_up_proj` and `qkv_proj` are those of src/transformers/models/phi3/modeling_phi3.py.
pub(super) const TRANSFORMERS: Project = Project {
    id: "transformers",
    name: "transformers",
    family_of: None,
    order: AxisOrder::Canonical,
    names: &[
        ("input_ids", Content::Tokens("input_ids")),
        ("position_ids", Content::Tokens("position_ids")),
        ("attention_mask", Content::Tokens("attention_mask")),
        ("embed_tokens", Tensor(Kind::Embed)),
        ("layers.{N}.input", LayerInput),
        ("layers.{N}.input_layernorm.input", LayerInput),
        ("layers.{N}.input_layernorm", Tensor(Kind::InputNorm)),
        ("layers.{N}.self_attn.input", Tensor(Kind::InputNorm)),
        ("layers.{N}.self_attn.q_proj", Tensor(Kind::QProj)),
        ("layers.{N}.self_attn.k_proj", Tensor(Kind::KProj)),
        ("layers.{N}.self_attn.v_proj", Tensor(Kind::VProj)),
        ("layers.{N}.self_attn.qkv_proj", Fused(Qkv)),
        ("layers.{N}.self_attn.q_norm", Tensor(Kind::QNorm)),
        ("layers.{N}.self_attn.k_norm", Tensor(Kind::KNorm)),
        ("layers.{N}.self_attn.q_rope", Tensor(Kind::QRope)),
        ("layers.{N}.self_attn.k_rope", Tensor(Kind::KRope)),
        ("layers.{N}.self_attn.scores", Tensor(Kind::Scores)),
        ("layers.{N}.self_attn.attn_scores", Tensor(Kind::Scores)),
        ("layers.{N}.self_attn.probs", Tensor(Kind::Probs)),
        // The second output of the attention module.
        ("layers.{N}.self_attn.attn_weights", Tensor(Kind::Probs)),
        ("layers.{N}.self_attn.1", Tensor(Kind::Probs)),
        ("attentions.{N}", Tensor(Kind::Probs)),
        // Entry N is the input of layer N, and the last entry is normed: recognised as `hidden_states` is.
        ("hidden_states.{N}", Tensor(Kind::Block)),
        ("layers.{N}.self_attn.context", Tensor(Kind::Context)),
        ("layers.{N}.self_attn.o_proj.input", Tensor(Kind::Context)),
        ("layers.{N}.self_attn.o_proj", Tensor(Kind::OProj)),
        ("layers.{N}.self_attn", Tensor(Kind::OProj)),
        ("layers.{N}.post_attention_layernorm.input", Tensor(Kind::PostNormInput)),
        ("layers.{N}.post_attention_layernorm", Tensor(Kind::PostNorm)),
        ("layers.{N}.pre_feedforward_layernorm.input", Tensor(Kind::FfnNormInput)),
        ("layers.{N}.pre_feedforward_layernorm", Tensor(Kind::FfnNorm)),
        // In Gemma, the norm before is another one: `dump/understand/family.rs`.
        ("layers.{N}.mlp.input", Tensor(Kind::PostNorm)),
        ("layers.{N}.mlp.gate_proj", Tensor(Kind::Gate)),
        ("layers.{N}.mlp.up_proj", Tensor(Kind::Up)),
        ("layers.{N}.mlp.gate_up_proj", Fused(GateUp)),
        ("layers.{N}.mlp.act_fn", Activation),
        ("layers.{N}.mlp.act", Tensor(Kind::Act)),
        ("layers.{N}.mlp.down_proj.input", Tensor(Kind::Act)),
        ("layers.{N}.mlp.down_proj", Tensor(Kind::Down)),
        ("layers.{N}.mlp", Tensor(Kind::Down)),
        ("layers.{N}.post_feedforward_layernorm", Tensor(Kind::FfnPostNorm)),
        ("layers.{N}", Tensor(Kind::Block)),
        // DynamicCache and StaticCache, their older form, tuples, and the names of ONNX exports.
        ("past_key_values.layers.{N}.keys", Cached(Kind::KRope)),
        ("past_key_values.layers.{N}.values", Cached(Kind::VProj)),
        ("past_key_values.key_cache.{N}", Cached(Kind::KRope)),
        ("past_key_values.value_cache.{N}", Cached(Kind::VProj)),
        ("past_key_values.{N}.0", Cached(Kind::KRope)),
        ("past_key_values.{N}.1", Cached(Kind::VProj)),
        ("past_key_values.{N}.key", Cached(Kind::KRope)),
        ("past_key_values.{N}.value", Cached(Kind::VProj)),
        ("norm", Tensor(Kind::FinalNorm)),
        ("lm_head.input", Tensor(Kind::FinalNorm)),
        ("lm_head", Tensor(Kind::Logits)),
        ("lm_head.softcap", Tensor(Kind::CappedLogits)),
        ("logits", Tensor(Kind::Logits)),
    ],
};

/// vllm-project/vllm, vllm/model_executor/models/llama.py, and sgl-project/sglang,
/// python/sglang/srt/models/llama.py: the same modules, of which some are fused. `SiluAndMul` is `act_fn`. A norm that
/// adds the residual returns its output and the sum; a layer returns the output of its MLP and the residual.
pub(super) const VLLM: Project = Project {
    id: "vllm",
    name: "vLLM or SGLang",
    family_of: None,
    order: AxisOrder::Canonical,
    names: &[
        ("positions", Content::Tokens("position_ids")),
        ("layers.{N}.self_attn.qkv_proj", Fused(Qkv)),
        // The rotary embedding returns queries and keys.
        ("layers.{N}.self_attn.rotary_emb.0", Tensor(Kind::QRope)),
        ("layers.{N}.self_attn.rotary_emb.1", Tensor(Kind::KRope)),
        ("layers.{N}.self_attn.attn", Tensor(Kind::Context)),
        ("layers.{N}.input_layernorm.1", LayerInput),
        ("layers.{N}.post_attention_layernorm.1", Tensor(Kind::PostNormInput)),
        ("layers.{N}.1", Tensor(Kind::PostNormInput)),
        ("layers.{N}.mlp.gate_up_proj", Fused(GateUp)),
        ("layers.{N}.mlp.act_fn", Activation),
        ("logits_processor", Tensor(Kind::Logits)),
        ("logits_processor.next_token_logits", Tensor(Kind::Logits)),
    ],
};

/// TransformerLensOrg/TransformerLens, transformer_lens/components (attention.py, transformer_block.py,
/// mlps/gated_mlp.py, rms_norm.py), whose arrays have positions before heads; and PCfVW/candle-mi, src/hooks.rs and
/// src/transformer/attention.rs. `hook_normalized` is recorded before the norm's weight is applied.
pub(super) const LENS: Project = Project {
    id: "transformer-lens",
    name: "TransformerLens or candle-mi",
    family_of: None,
    order: AxisOrder::Split,
    names: &[
        ("tokens", Content::Tokens("input_ids")),
        ("hook_tokens", Content::Tokens("input_ids")),
        ("hook_embed", Tensor(Kind::Embed)),
        ("blocks.{N}.hook_resid_pre", LayerInput),
        ("blocks.{N}.ln1.hook_scale", NotASite),
        ("blocks.{N}.ln1.hook_normalized", Normalized(Kind::InputNorm)),
        ("blocks.{N}.attn.hook_q", Tensor(Kind::QProj)),
        ("blocks.{N}.attn.hook_k", Tensor(Kind::KProj)),
        ("blocks.{N}.attn.hook_v", Tensor(Kind::VProj)),
        ("blocks.{N}.attn.hook_rot_q", Tensor(Kind::QRope)),
        ("blocks.{N}.attn.hook_rot_k", Tensor(Kind::KRope)),
        ("blocks.{N}.attn.hook_attn_scores", Tensor(Kind::Scores)),
        ("blocks.{N}.attn.hook_scores", Tensor(Kind::Scores)),
        ("blocks.{N}.attn.hook_pattern", Tensor(Kind::Probs)),
        ("blocks.{N}.attn.hook_z", Tensor(Kind::Context)),
        ("blocks.{N}.attn.hook_result", NotASite),
        ("past_kv_cache.{N}.past_keys", Cached(Kind::KRope)),
        ("past_kv_cache.{N}.past_values", Cached(Kind::VProj)),
        ("blocks.{N}.hook_attn_out", Tensor(Kind::OProj)),
        ("blocks.{N}.hook_resid_mid", Tensor(Kind::PostNormInput)),
        ("blocks.{N}.hook_mlp_in", Tensor(Kind::PostNormInput)),
        ("blocks.{N}.ln2.hook_scale", NotASite),
        ("blocks.{N}.ln2.hook_normalized", Normalized(Kind::PostNorm)),
        ("blocks.{N}.mlp.hook_pre", Tensor(Kind::Gate)),
        ("blocks.{N}.mlp.hook_pre_linear", Tensor(Kind::Up)),
        ("blocks.{N}.mlp.hook_post", Tensor(Kind::Act)),
        ("blocks.{N}.hook_mlp_out", Tensor(Kind::Down)),
        ("blocks.{N}.hook_resid_post", Tensor(Kind::Block)),
        ("ln_final.hook_scale", NotASite),
        ("ln_final.hook_normalized", Normalized(Kind::FinalNorm)),
        ("hook_final_norm", Tensor(Kind::FinalNorm)),
        ("unembed.hook_out", Tensor(Kind::Logits)),
        ("unembed", Tensor(Kind::Logits)),
        ("logits", Tensor(Kind::Logits)),
    ],
};
