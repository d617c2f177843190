//! Norms of queries and keys, and norms that multiply by 1 + w.

use candle_core::{D, DType, Tensor};

use crate::Result;
use crate::model::{Block, Llama, Norm};
use crate::plants::making::{Setting, demand};
use crate::plants::plant::{PLANT, Plant};
use crate::plants::remake::remade;
use crate::probe::{Kind, Site};

/// What a wrong norm of queries shares.
const QUERY_NORM: Plant = Plant {
    fails: &["02", "06", "07", "09"],
    first: Some("model.layers.0.self_attn.q_norm"),
    shows: |setting| norms_heads(setting),
    ..PLANT
};

pub const PLANTS: &[Plant] = &[
    Plant {
        name: "norm-weight",
        does: "norms queries with the weight for keys",
        make: |correct| {
            correct.altered(|llama| {
                for attention in llama.layers.iter_mut().map(|block| &mut block.self_attn) {
                    attention.q_norm = attention.k_norm.clone();
                }
                Ok(())
            })
        },
        ..QUERY_NORM
    },
    Plant {
        name: "norm-skipped",
        does: "does not norm queries",
        make: |correct| {
            correct.driven(|llama| {
                remade(llama, |pass, site, _| {
                    Ok(pass.last(Kind::QProj).filter(|_| site.kind == Kind::QNorm).cloned())
                })
            })
        },
        ..QUERY_NORM
    },
    Plant {
        name: "norm-statistic",
        does: "norms the whole row of queries, not each head",
        make: |correct| {
            correct.driven(|llama| {
                let norms = query_norms(&llama);
                remade(llama, move |pass, site, _| match (norm_at(&norms, site), pass.last(Kind::QProj)) {
                    (Some(norm), Some(x)) if site.kind == Kind::QNorm => whole_row(norm, x).map(Some),
                    _ => Ok(None),
                })
            })
        },
        ..QUERY_NORM
    },
    Plant {
        name: "norm-order",
        does: "norms queries after the rotation, which turns the weight too",
        make: |correct| {
            correct.driven(|llama| {
                let norms = query_norms(&llama);
                let ropes: Vec<_> =
                    llama.layers.iter().map(|block| llama.rope_of(block.layer_type).clone()).collect();
                remade(llama, move |pass, site, _| {
                    let (Kind::QRope, Some(norm)) = (site.kind, norm_at(&norms, site)) else {
                        return Ok(None);
                    };
                    let Some(normed) = pass.last(Kind::QNorm) else { return Ok(None) };
                    let rope = &ropes[site.layer.map_or(0, usize::from)];
                    let (b, s, _) = normed.dims3()?;
                    let width = norm.weight.dim(0)?;
                    let plain = normed.reshape((b, s, (), width))?.broadcast_div(&norm.weight)?;
                    let plain = plain.transpose(1, 2)?.contiguous()?; // [b, heads, s, head_dim]
                    let rotated = rope.at(&pass.input.positions, normed.device())?.apply(&plain)?;
                    Ok(Some(rotated.broadcast_mul(&norm.weight)?))
                })
            })
        },
        fails: &["01B", "06", "07", "09"],
        first: Some("model.layers.0.self_attn.q_rope"),
        shows: |setting| norms_heads(setting),
        ..PLANT
    },
    Plant {
        name: "norm-plus-one",
        does: "multiplies by w in a family whose norms multiply by 1 + w",
        make: |correct| {
            correct.altered(|llama| {
                let of_layers = llama.layers.iter_mut().flat_map(Block::norms).map(|(_, norm)| norm);
                for norm in of_layers.chain([&mut llama.norm]) {
                    norm.weight = (&norm.weight - 1.0)?;
                }
                Ok(())
            })
        },
        fails: &["01", "06", "07", "09"],
        also: |config| if config.family.norms_heads() { &["02"] } else { &[] },
        first: Some("model.layers.0.input_layernorm"),
        shows: |setting| {
            demand(setting.config.family.norm_offset() > 0.0, "this family's norms multiply by w")
        },
        ..PLANT
    },
];

fn query_norms(llama: &Llama) -> Vec<Option<Norm>> {
    llama.layers.iter().map(|block| block.self_attn.q_norm.clone()).collect()
}

fn norm_at(norms: &[Option<Norm>], site: Site) -> Option<&Norm> {
    norms.get(usize::from(site.layer?))?.as_ref()
}

/// The norm over a whole row, with the weight of a head repeated: `[b, s, heads * head_dim]` → the same shape.
fn whole_row(norm: &Norm, x: &Tensor) -> Result<Tensor> {
    let heads = x.dim(D::Minus1)? / norm.weight.dim(0)?;
    let wide = x.to_dtype(DType::F32)?;
    let mean = wide.sqr()?.mean_keepdim(D::Minus1)?;
    let normed = wide.broadcast_div(&(mean + norm.eps)?.sqrt()?)?.to_dtype(x.dtype())?;
    Ok(normed.broadcast_mul(&norm.weight.repeat(heads)?)?)
}

fn norms_heads(setting: &Setting<'_>) -> Result<(), String> {
    demand(setting.config.family.norms_heads(), "this family does not norm queries and keys")
}
