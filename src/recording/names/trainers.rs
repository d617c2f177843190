//! Names of modules in programs that train models: Meta's own code, litgpt, torchtune, Megatron.

use super::content::Content::{self, Cached, Fused, OneOf, Tensor};
use super::content::Project;
use crate::probe::Kind;
use crate::recording::form::AxisOrder;
use crate::recording::part::Fused::{Qkv, QkvByGroup};

/// meta-llama/llama, llama/model.py; tracel-ai/models, llama-burn/src/transformer.rs; and candle-transformers'
/// quantized_llama.rs, whose fields are `attention_wq` and `feed_forward_w1`.
pub(super) const META: Project = Project {
    id: "meta",
    name: "Meta's code, burn or Candle's quantized_llama",
    family_of: None,
    order: AxisOrder::Canonical,
    names: &[
        ("tokens", Content::Tokens("input_ids")),
        ("tok_embeddings", Tensor(Kind::Embed)),
        ("layers.{N}.attention_norm", Tensor(Kind::InputNorm)),
        ("layers.{N}.attention.wq", Tensor(Kind::QProj)),
        ("layers.{N}.attention.wk", Tensor(Kind::KProj)),
        ("layers.{N}.attention.wv", Tensor(Kind::VProj)),
        ("layers.{N}.attention.scores", Tensor(Kind::Scores)),
        ("layers.{N}.attention.cache_k", Cached(Kind::KRope)),
        ("layers.{N}.attention.cache_v", Cached(Kind::VProj)),
        ("layers.{N}.attention.wo", Tensor(Kind::OProj)),
        ("layers.{N}.attention", Tensor(Kind::OProj)),
        ("layers.{N}.ffn_norm", Tensor(Kind::PostNorm)),
        ("layers.{N}.feed_forward.w1", Tensor(Kind::Gate)),
        ("layers.{N}.feed_forward.w3", Tensor(Kind::Up)),
        ("layers.{N}.feed_forward.swiglu.linear_inner", Tensor(Kind::Gate)),
        ("layers.{N}.feed_forward.swiglu.linear_outer", Tensor(Kind::Up)),
        ("layers.{N}.feed_forward.swiglu", Tensor(Kind::Act)),
        ("layers.{N}.feed_forward.w2", Tensor(Kind::Down)),
        ("layers.{N}.feed_forward", Tensor(Kind::Down)),
        ("layers.{N}", Tensor(Kind::Block)),
        ("norm", Tensor(Kind::FinalNorm)),
        ("output", Tensor(Kind::Logits)),
    ],
};

/// Lightning-AI/litgpt, litgpt/model.py. The norms behind the branches are identities in Llama. `attn.qkv` is split
/// into all queries, keys and values; versions before 0.5.4 call it `attn.attn` and interleave the groups.
pub(super) const LITGPT: Project = Project {
    id: "litgpt",
    name: "litgpt",
    family_of: None,
    order: AxisOrder::Canonical,
    names: &[
        ("idx", Content::Tokens("input_ids")),
        ("input_pos", Content::Tokens("position_ids")),
        ("transformer.wte", Tensor(Kind::Embed)),
        ("transformer.h.{N}.norm_1", Tensor(Kind::InputNorm)),
        ("transformer.h.{N}.attn.qkv", Fused(Qkv)),
        ("transformer.h.{N}.attn.attn", Fused(QkvByGroup)),
        ("transformer.h.{N}.attn.kv_cache.k", Cached(Kind::KRope)),
        ("transformer.h.{N}.attn.kv_cache.v", Cached(Kind::VProj)),
        ("transformer.h.{N}.attn.proj", Tensor(Kind::OProj)),
        ("transformer.h.{N}.attn", Tensor(Kind::OProj)),
        ("transformer.h.{N}.post_attention_norm", Tensor(Kind::OProj)),
        ("transformer.h.{N}.norm_2", Tensor(Kind::PostNorm)),
        ("transformer.h.{N}.mlp.fc_1", Tensor(Kind::Gate)),
        ("transformer.h.{N}.mlp.fc_2", Tensor(Kind::Up)),
        ("transformer.h.{N}.mlp.proj", Tensor(Kind::Down)),
        ("transformer.h.{N}.mlp", Tensor(Kind::Down)),
        ("transformer.h.{N}.post_mlp_norm", Tensor(Kind::Down)),
        ("transformer.h.{N}", Tensor(Kind::Block)),
        ("transformer.ln_f", Tensor(Kind::FinalNorm)),
        ("lm_head", Tensor(Kind::Logits)),
    ],
};

/// pytorch/torchtune, torchtune/modules/transformer.py, attention.py and feed_forward.py. `pos_embeddings` runs on
/// queries and then on keys; the scales are identities in Llama.
pub(super) const TORCHTUNE: Project = Project {
    id: "torchtune",
    name: "torchtune",
    family_of: None,
    order: AxisOrder::Canonical,
    names: &[
        ("tokens", Content::Tokens("input_ids")),
        ("input_pos", Content::Tokens("position_ids")),
        ("tok_embeddings", Tensor(Kind::Embed)),
        ("layers.{N}.sa_norm", Tensor(Kind::InputNorm)),
        ("layers.{N}.attn.q_proj", Tensor(Kind::QProj)),
        ("layers.{N}.attn.k_proj", Tensor(Kind::KProj)),
        ("layers.{N}.attn.v_proj", Tensor(Kind::VProj)),
        ("layers.{N}.attn.kv_cache.k_cache", Cached(Kind::KRope)),
        ("layers.{N}.attn.kv_cache.v_cache", Cached(Kind::VProj)),
        ("layers.{N}.attn.pos_embeddings", OneOf(&[Kind::QRope, Kind::KRope])),
        ("layers.{N}.attn.output_proj", Tensor(Kind::OProj)),
        ("layers.{N}.sa_scale", Tensor(Kind::OProj)),
        ("layers.{N}.mlp_scale", Tensor(Kind::Down)),
        ("layers.{N}.attn", Tensor(Kind::OProj)),
        ("layers.{N}.mlp_norm", Tensor(Kind::PostNorm)),
        ("layers.{N}.mlp.w1", Tensor(Kind::Gate)),
        ("layers.{N}.mlp.w3", Tensor(Kind::Up)),
        ("layers.{N}.mlp.w2", Tensor(Kind::Down)),
        ("layers.{N}.mlp", Tensor(Kind::Down)),
        ("layers.{N}", Tensor(Kind::Block)),
        ("norm", Tensor(Kind::FinalNorm)),
        ("output", Tensor(Kind::Logits)),
    ],
};

/// NVIDIA/Megatron-LM, megatron/core/transformer (transformer_layer.py, attention.py, mlp.py). Arrays are
/// `[s, b, …]`; `linear_qkv` interleaves the groups, and `linear_fc1` has the gate before up.
pub(super) const MEGATRON: Project = Project {
    id: "megatron",
    name: "Megatron",
    family_of: None,
    order: AxisOrder::Canonical,
    names: &[
        ("embedding.word_embeddings", Tensor(Kind::Embed)),
        ("embedding", Tensor(Kind::Embed)),
        ("decoder.layers.{N}.input_layernorm", Tensor(Kind::InputNorm)),
        ("decoder.layers.{N}.self_attention.linear_qkv", Fused(QkvByGroup)),
        ("decoder.layers.{N}.self_attention.core_attention", Tensor(Kind::Context)),
        ("decoder.layers.{N}.self_attention.linear_proj", Tensor(Kind::OProj)),
        ("decoder.layers.{N}.self_attention", Tensor(Kind::OProj)),
        ("decoder.layers.{N}.pre_mlp_layernorm", Tensor(Kind::PostNorm)),
        // Its name in 2023.
        ("decoder.layers.{N}.post_self_attn_layernorm", Tensor(Kind::PostNorm)),
        ("decoder.layers.{N}.mlp.linear_fc1", Fused(crate::recording::part::Fused::GateUp)),
        ("decoder.layers.{N}.mlp.linear_fc2", Tensor(Kind::Down)),
        ("decoder.layers.{N}.mlp", Tensor(Kind::Down)),
        ("decoder.layers.{N}", Tensor(Kind::Block)),
        ("decoder.final_layernorm", Tensor(Kind::FinalNorm)),
        ("decoder.final_norm", Tensor(Kind::FinalNorm)),
        ("output_layer", Tensor(Kind::Logits)),
    ],
};
