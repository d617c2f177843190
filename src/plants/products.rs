//! Which matrix product of the model computes a site.

use candle_core::Tensor;

use super::remake::PassSoFar;
use crate::model::{Block, Llama, Projection};
use crate::probe::{Kind, Kinds, Site};

/// The two factors of the product at `site`, which is in `block`: its input rows `[b, s, in]` and its layer.
pub fn in_block<'a>(
    block: &'a Block,
    kinds: Kinds,
    pass: &'a PassSoFar,
    site: Site,
) -> Option<(&'a Tensor, &'a Projection)> {
    let attention = &block.self_attn;
    let linear = match site.kind {
        Kind::QProj => &attention.q_proj,
        Kind::KProj => &attention.k_proj,
        Kind::VProj => &attention.v_proj,
        Kind::OProj => &attention.o_proj,
        Kind::Gate => &block.mlp.gate_proj,
        Kind::Up => &block.mlp.up_proj,
        Kind::Down => &block.mlp.down_proj,
        _ => return None,
    };
    let x = *kinds.inputs(site.kind).first()?;
    Some((pass.last(x)?, linear))
}

/// The two factors of the product at any site of `llama`.
pub fn in_model<'a>(
    llama: &'a Llama,
    pass: &'a PassSoFar,
    site: Site,
) -> Option<(&'a Tensor, &'a Projection)> {
    match site.layer {
        Some(layer) => in_block(llama.layers.get(usize::from(layer))?, llama.kinds(), pass, site),
        None if site.kind == Kind::Logits => Some((pass.last(Kind::FinalNorm)?, &llama.lm_head)),
        None => None,
    }
}
