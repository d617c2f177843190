//! Which matrix product of the model computes a site.

use candle_core::Tensor;

use super::remake::PassSoFar;
use crate::model::{Block, Llama, Projection};
use crate::probe::{Kind, Site};

/// The two factors of the product at `site`, which is in `block`: its input rows `[b, s, in]` and its layer.
pub fn in_block<'a>(
    block: &'a Block,
    pass: &'a PassSoFar,
    site: Site,
) -> Option<(&'a Tensor, &'a Projection)> {
    let attention = &block.self_attn;
    let (x, linear) = match site.kind {
        Kind::QProj => (Kind::InputNorm, &attention.q_proj),
        Kind::KProj => (Kind::InputNorm, &attention.k_proj),
        Kind::VProj => (Kind::InputNorm, &attention.v_proj),
        Kind::OProj => (Kind::Context, &attention.o_proj),
        Kind::Gate => (Kind::PostNorm, &block.mlp.gate_proj),
        Kind::Up => (Kind::PostNorm, &block.mlp.up_proj),
        Kind::Down => (Kind::Act, &block.mlp.down_proj),
        _ => return None,
    };
    Some((pass.last(x)?, linear))
}

/// The two factors of the product at any site of `llama`.
pub fn in_model<'a>(
    llama: &'a Llama,
    pass: &'a PassSoFar,
    site: Site,
) -> Option<(&'a Tensor, &'a Projection)> {
    match site.layer {
        Some(layer) => in_block(llama.layers.get(usize::from(layer))?, pass, site),
        None if site.kind == Kind::Logits => Some((pass.last(Kind::FinalNorm)?, &llama.lm_head)),
        None => None,
    }
}
