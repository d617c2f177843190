//! Names in ports: of llama.cpp and GGUF, of Candle's examples, of llama2.c.

use super::content::Content::{self, ByHeads, Cached, HeadsFirst, LayerInput, NotASite, OneOf, Tensor};
use super::content::Project;
use crate::probe::Kind;
use crate::recording::form::AxisOrder;

/// ggml-org/llama.cpp, src/llama-graph.cpp and src/models/llama.cpp, as its evaluation callback names them. Two
/// tensors are called `Qcur` and two `Kcur`: the one with an axis of heads is rotated. After the number may follow
/// ggml's operation: `Qcur-0 (ROPE)`. ggml names the projection `(reshaped)` when it splits the heads, before the
/// rotation. `kqv` has heads before positions.
pub(super) const LLAMA_CPP: Project = Project {
    id: "llama.cpp",
    name: "llama.cpp",
    family_of: None,
    order: AxisOrder::Ggml,
    names: &[
        ("inp_tokens", Content::Tokens("input_ids")),
        ("inp_pos", Content::Tokens("position_ids")),
        ("inp_embd", Tensor(Kind::Embed)),
        ("embd", Tensor(Kind::Embed)),
        ("attn_norm-{N}", Tensor(Kind::InputNorm)),
        ("Qcur-{N}", ByHeads(Kind::QProj, Kind::QRope)),
        ("Kcur-{N}", ByHeads(Kind::KProj, Kind::KRope)),
        ("Qcur-{N} (MUL_MAT)", Tensor(Kind::QProj)),
        ("Kcur-{N} (MUL_MAT)", Tensor(Kind::KProj)),
        ("Qcur-{N} (ADD)", Tensor(Kind::QProj)),
        ("Kcur-{N} (ADD)", Tensor(Kind::KProj)),
        ("Qcur-{N} (ROPE)", Tensor(Kind::QRope)),
        ("Kcur-{N} (ROPE)", Tensor(Kind::KRope)),
        ("Qcur-{N} (reshaped)", Tensor(Kind::QProj)),
        ("Kcur-{N} (reshaped)", Tensor(Kind::KProj)),
        ("Vcur-{N} (reshaped)", Tensor(Kind::VProj)),
        ("Qcur_rope-{N}", Tensor(Kind::QRope)),
        ("Kcur_rope-{N}", Tensor(Kind::KRope)),
        ("Qcur_normed-{N}", Tensor(Kind::QNorm)),
        ("Kcur_normed-{N}", Tensor(Kind::KNorm)),
        ("Vcur-{N}", Tensor(Kind::VProj)),
        ("Vcur-{N} (MUL_MAT)", Tensor(Kind::VProj)),
        ("Vcur-{N} (ADD)", Tensor(Kind::VProj)),
        ("kq-{N}", Tensor(Kind::Scores)),
        ("kq_scaled-{N}", Tensor(Kind::Scores)),
        ("kq_masked-{N}", Tensor(Kind::Scores)),
        ("kq_soft_max-{N}", Tensor(Kind::Probs)),
        ("kq_soft_max_ext-{N}", Tensor(Kind::Probs)),
        ("kqv-{N}", HeadsFirst(Kind::Context)),
        ("kqv_out-{N}", Tensor(Kind::Context)),
        ("kqv_merged_cont-{N}", Tensor(Kind::Context)),
        ("kqv_wo-{N}", Tensor(Kind::OProj)),
        ("attn_out-{N}", Tensor(Kind::OProj)),
        ("ffn_inp-{N}", Tensor(Kind::PostNormInput)),
        ("ffn_norm-{N}", Tensor(Kind::PostNorm)),
        ("ffn_gate-{N}", Tensor(Kind::Gate)),
        ("ffn_up-{N}", Tensor(Kind::Up)),
        ("ffn_silu-{N}", Content::Activation),
        ("ffn_swiglu-{N}", Tensor(Kind::Act)),
        ("ffn_gate_par-{N}", Tensor(Kind::Act)),
        ("ffn_out-{N}", Tensor(Kind::Down)),
        ("ffn_down-{N}", Tensor(Kind::Down)),
        // The whole cache, in the order of its memory.
        ("cache_k_l{N}", Cached(Kind::KRope)),
        ("cache_v_l{N}", Cached(Kind::VProj)),
        ("l_out-{N}", Tensor(Kind::Block)),
        ("result_norm", Tensor(Kind::FinalNorm)),
        ("result_output", Tensor(Kind::Logits)),
    ],
};

/// GGUF's names of weights, for the values computed with them: ggml-org/llama.cpp, gguf-py/gguf/constants.py.
pub(super) const GGUF: Project = Project {
    id: "gguf",
    name: "GGUF's weights",
    family_of: None,
    order: AxisOrder::Canonical,
    names: &[
        ("token_embd", Tensor(Kind::Embed)),
        ("blk.{N}.attn_norm", Tensor(Kind::InputNorm)),
        ("blk.{N}.attn_q", Tensor(Kind::QProj)),
        ("blk.{N}.attn_k", Tensor(Kind::KProj)),
        ("blk.{N}.attn_v", Tensor(Kind::VProj)),
        ("blk.{N}.attn_qkv", Content::Fused(crate::recording::part::Fused::Qkv)),
        ("blk.{N}.attn_output", Tensor(Kind::OProj)),
        ("blk.{N}.ffn_norm", Tensor(Kind::PostNorm)),
        ("blk.{N}.ffn_gate", Tensor(Kind::Gate)),
        ("blk.{N}.ffn_up", Tensor(Kind::Up)),
        ("blk.{N}.ffn_down", Tensor(Kind::Down)),
        ("blk.{N}", Tensor(Kind::Block)),
        ("output_norm", Tensor(Kind::FinalNorm)),
        ("output", Tensor(Kind::Logits)),
    ],
};

/// huggingface/candle, candle-transformers/src/models/llama.rs; and EricLBuehler/mistral.rs,
/// mistralrs-core/src/models/llama.rs, which has the same fields.
pub(super) const CANDLE: Project = Project {
    id: "candle",
    name: "Candle's llama or mistral.rs",
    family_of: None,
    order: AxisOrder::Canonical,
    names: &[
        ("wte", Tensor(Kind::Embed)),
        ("blocks.{N}.rms_1", Tensor(Kind::InputNorm)),
        ("blocks.{N}.attn.q_proj", Tensor(Kind::QProj)),
        ("blocks.{N}.attn.k_proj", Tensor(Kind::KProj)),
        ("blocks.{N}.attn.v_proj", Tensor(Kind::VProj)),
        ("blocks.{N}.attn.o_proj", Tensor(Kind::OProj)),
        ("blocks.{N}.attn", Tensor(Kind::OProj)),
        ("blocks.{N}.rms_2", Tensor(Kind::PostNorm)),
        ("blocks.{N}.mlp.c_fc1", Tensor(Kind::Gate)),
        ("blocks.{N}.mlp.c_fc2", Tensor(Kind::Up)),
        ("blocks.{N}.mlp.c_proj", Tensor(Kind::Down)),
        ("blocks.{N}.mlp", Tensor(Kind::Down)),
        ("blocks.{N}", Tensor(Kind::Block)),
        // `Cache::kvs` of candle-transformers, and the fields of `candle_nn::kv_cache::KvCache`.
        ("cache.kvs.{N}.0", Cached(Kind::KRope)),
        ("cache.kvs.{N}.1", Cached(Kind::VProj)),
        ("kv_cache.{N}.k", Cached(Kind::KRope)),
        ("kv_cache.{N}.v", Cached(Kind::VProj)),
        ("layers.{N}.self_attn.kv_cache.k", Cached(Kind::KRope)),
        ("layers.{N}.self_attn.kv_cache.v", Cached(Kind::VProj)),
        ("ln_f", Tensor(Kind::FinalNorm)),
        ("lm_head", Tensor(Kind::Logits)),
        ("logits", Tensor(Kind::Logits)),
    ],
};

/// karpathy/llama2.c, run.c: the buffers of `RunState`, most of which are used several times.
pub(super) const LLAMA2_C: Project = Project {
    id: "llama2.c",
    name: "llama2.c",
    family_of: None,
    order: AxisOrder::Canonical,
    names: &[
        ("layers.{N}.x", OneOf(&[Kind::PostNormInput, Kind::Block])),
        ("x.{N}", OneOf(&[Kind::PostNormInput, Kind::Block])),
        ("layers.{N}.xb", OneOf(&[Kind::InputNorm, Kind::Context, Kind::PostNorm, Kind::Down])),
        ("xb.{N}", OneOf(&[Kind::InputNorm, Kind::Context, Kind::PostNorm, Kind::Down])),
        ("layers.{N}.xb2", Tensor(Kind::OProj)),
        ("xb2.{N}", Tensor(Kind::OProj)),
        ("layers.{N}.q", OneOf(&[Kind::QProj, Kind::QRope])),
        ("q.{N}", OneOf(&[Kind::QProj, Kind::QRope])),
        ("layers.{N}.k", OneOf(&[Kind::KProj, Kind::KRope])),
        ("k.{N}", OneOf(&[Kind::KProj, Kind::KRope])),
        ("layers.{N}.v", Tensor(Kind::VProj)),
        ("v.{N}", Tensor(Kind::VProj)),
        ("layers.{N}.att", OneOf(&[Kind::Scores, Kind::Probs])),
        ("att.{N}", OneOf(&[Kind::Scores, Kind::Probs])),
        ("layers.{N}.hb", OneOf(&[Kind::Gate, Kind::Act])),
        ("hb.{N}", OneOf(&[Kind::Gate, Kind::Act])),
        ("layers.{N}.hb2", Tensor(Kind::Up)),
        ("hb2.{N}", Tensor(Kind::Up)),
        ("layers.{N}.key_cache", Tensor(Kind::KRope)),
        ("layers.{N}.value_cache", Tensor(Kind::VProj)),
        ("layers.{N}.input", LayerInput),
        ("s.pos", NotASite),
        ("logits", Tensor(Kind::Logits)),
    ],
};
