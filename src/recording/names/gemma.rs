//! llama.cpp's names in Gemma 2 and 3: ggml-org/llama.cpp, src/models/gemma2.cpp and gemma3.cpp, and
//! src/llama-graph.cpp. What has the same name as in a Llama is listed again where it means the same.

use super::content::Content::{ByHeads, Cached, HeadsFirst, NotASite, Tensor, Tokens};
use super::content::{Content, Project};
use crate::probe::Kind;
use crate::recording::form::AxisOrder;

/// Scores are capped before they are masked: `kq` is not yet capped.
pub(super) const GEMMA2: Project = Project {
    id: "llama.cpp-gemma2",
    name: "llama.cpp's Gemma 2",
    family_of: Some("llama.cpp"),
    order: AxisOrder::Ggml,
    names: &with_common([
        ("kq-{N}", NotASite),
        ("kq_scaled_1-{N}", NotASite),
        ("kq_tanh-{N}", NotASite),
        ("kq_scaled_2-{N}", Tensor(Kind::Scores)),
        ("result_output", Tensor(Kind::CappedLogits)),
    ]),
};

/// Queries and keys are normed; scores are not capped.
pub(super) const GEMMA3: Project = Project {
    id: "llama.cpp-gemma3",
    name: "llama.cpp's Gemma 3",
    family_of: Some("llama.cpp"),
    order: AxisOrder::Ggml,
    names: &with_common([
        ("Qcur_normed-{N}", Tensor(Kind::QNorm)),
        ("Kcur_normed-{N}", Tensor(Kind::KNorm)),
        ("kq-{N}", Tensor(Kind::Scores)),
        ("ffn_post_norm-{N}", Tensor(Kind::FfnPostNorm)),
        ("result_output", Tensor(Kind::Logits)),
    ]),
};

/// The names of both.
const COMMON: [(&str, Content); 38] = [
    ("inp_tokens", Tokens("input_ids")),
    ("inp_pos", Tokens("position_ids")),
    // The rows of the embedding before they are scaled.
    ("inp_embd", NotASite),
    ("embd", NotASite),
    ("inp_scaled", Tensor(Kind::Embed)),
    ("attn_norm-{N}", Tensor(Kind::InputNorm)),
    ("Qcur-{N}", ByHeads(Kind::QProj, Kind::QRope)),
    ("Kcur-{N}", ByHeads(Kind::KProj, Kind::KRope)),
    ("Qcur-{N} (MUL_MAT)", Tensor(Kind::QProj)),
    ("Kcur-{N} (MUL_MAT)", Tensor(Kind::KProj)),
    ("Qcur-{N} (ROPE)", Tensor(Kind::QRope)),
    ("Kcur-{N} (ROPE)", Tensor(Kind::KRope)),
    ("Qcur-{N} (reshaped)", Tensor(Kind::QProj)),
    ("Kcur-{N} (reshaped)", Tensor(Kind::KProj)),
    ("Vcur-{N} (reshaped)", Tensor(Kind::VProj)),
    ("Vcur-{N}", Tensor(Kind::VProj)),
    ("Vcur-{N} (MUL_MAT)", Tensor(Kind::VProj)),
    ("kq_soft_max-{N}", Tensor(Kind::Probs)),
    ("kq_soft_max_ext-{N}", Tensor(Kind::Probs)),
    ("kqv-{N}", HeadsFirst(Kind::Context)),
    ("kqv_out-{N}", Tensor(Kind::Context)),
    ("kqv_merged_cont-{N}", Tensor(Kind::Context)),
    ("kqv_wo-{N}", Tensor(Kind::OProj)),
    ("attn_out-{N}", Tensor(Kind::OProj)),
    ("attn_post_norm-{N}", Tensor(Kind::PostNorm)),
    ("sa_out-{N}", Tensor(Kind::FfnNormInput)),
    ("ffn_norm-{N}", Tensor(Kind::FfnNorm)),
    ("ffn_gate-{N}", Tensor(Kind::Gate)),
    ("ffn_up-{N}", Tensor(Kind::Up)),
    ("ffn_geglu-{N}", Tensor(Kind::Act)),
    ("ffn_gate_par-{N}", Tensor(Kind::Act)),
    ("ffn_out-{N}", Tensor(Kind::Down)),
    ("ffn_down-{N}", Tensor(Kind::Down)),
    ("cache_k_l{N}", Cached(Kind::KRope)),
    ("cache_v_l{N}", Cached(Kind::VProj)),
    ("l_out-{N}", Tensor(Kind::Block)),
    ("result_norm", Tensor(Kind::FinalNorm)),
    // Of no layer in a Gemma 2, where all layers' norms have this name.
    ("ffn_post_norm", NotASite),
];

/// The number of names of one family.
const ALL: usize = COMMON.len() + 5;

const fn with_common(own: [(&'static str, Content); 5]) -> [(&'static str, Content); ALL] {
    let mut all = [("", NotASite); ALL];
    let mut n = 0;
    while n < ALL {
        all[n] = if n < COMMON.len() { COMMON[n] } else { own[n - COMMON.len()] };
        n += 1;
    }
    all
}
