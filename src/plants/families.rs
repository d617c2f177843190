//! Planted mistakes that only some families and settings invite: scaled rotations, biases, windows, norms of heads, and
//! what Gemma computes differently. They are further forms of rows of the catalogue, and kinds of deviation that are
//! identified without a row.

use candle_core::{D, Tensor};

use super::making::{Setting, demand};
use super::plant::{PLANT, Plant};
use super::remake::remade;
use crate::Result;
use crate::model::{Block, Llama, Norm};
use crate::probe::{Kind, Site};
use crate::reference::Reference;
use crate::weights::{Activation, Config, LayerType, RopeScaling};

/// What fails if the rotation is wrong, from its own checkpoint on.
const ROTATION: &[&str] = &["01B", "06", "07", "09"];
/// The same for projections and norms of heads, attention, and the feed-forward network.
const HEADS: &[&str] = &["02", "06", "07", "09"];
const ATTENTION: &[&str] = &["03", "06", "07", "09"];
const FFN: &[&str] = &["05", "06", "07", "09"];

const Q_ROPE: Option<&str> = Some("model.layers.0.self_attn.q_rope");
const SCORES: Option<&str> = Some("model.layers.0.self_attn.scores");
const Q_NORM: Option<&str> = Some("model.layers.0.self_attn.q_norm");
const ACT: Option<&str> = Some("model.layers.0.mlp.act");

pub const PLANTS: &[Plant] = &[
    Plant {
        name: "rope-scaling",
        does: "divides every frequency by the factor of Llama 3's scaling, those of fast pairs too",
        make: |correct| {
            correct.altered(|llama| {
                if let RopeScaling::Llama3 { factor, .. } = llama.config.rope_scaling {
                    rotate_as(llama, RopeScaling::Linear { factor });
                }
                Ok(())
            })
        },
        fails: ROTATION,
        first: Q_ROPE,
        shows: |setting| as_llama3(setting),
        ..PLANT
    },
    Plant {
        name: "rope-scaling",
        does: "takes 8192 as the original context of Llama 3's scaling, whatever the config says",
        make: |correct| {
            correct.altered(|llama| {
                let mut scaling = llama.config.rope_scaling.clone();
                if let RopeScaling::Llama3 { original_max_position_embeddings, .. } = &mut scaling {
                    *original_max_position_embeddings = 8192;
                }
                rotate_as(llama, scaling);
                Ok(())
            })
        },
        fails: ROTATION,
        first: Q_ROPE,
        shows: |setting| as_llama3(setting),
        ..PLANT
    },
    Plant {
        name: "rope-scaling",
        does: "multiplies frequencies by the factor of a linear scaling",
        make: |correct| {
            correct.altered(|llama| {
                if let RopeScaling::Linear { factor } = llama.config.rope_scaling {
                    rotate_as(llama, RopeScaling::Linear { factor: 1.0 / factor });
                }
                Ok(())
            })
        },
        fails: ROTATION,
        first: Q_ROPE,
        layer: |config| first(config, LayerType::Full),
        shows: |setting| {
            let linear = matches!(setting.config.rope_scaling, RopeScaling::Linear { .. });
            demand(linear, "this model's rotation is not scaled linearly")
        },
        ..PLANT
    },
    Plant {
        name: "rope-theta",
        does: "rotates layers with a window by the θ of the others",
        make: |correct| {
            correct.altered(|llama| {
                llama.local_rope = None;
                Ok(())
            })
        },
        fails: ROTATION,
        first: Q_ROPE,
        layer: |config| first(config, LayerType::Sliding),
        shows: |setting| {
            demand(setting.config.local_rope_theta.is_some(), "all layers of this model have one θ")
        },
        ..PLANT
    },
    Plant {
        name: "bias-dropped",
        does: "adds no bias to v",
        make: |correct| {
            correct.altered(|llama| {
                llama.layers.iter_mut().for_each(|block| block.self_attn.v_proj.bias = None);
                Ok(())
            })
        },
        fails: HEADS,
        first: Some("model.layers.0.self_attn.v_proj"),
        shows: |setting| biased(setting, "self_attn.v_proj"),
        ..PLANT
    },
    Plant {
        name: "bias-dropped",
        does: "adds no bias to the attention's output",
        make: |correct| {
            correct.altered(|llama| {
                llama.layers.iter_mut().for_each(|block| block.self_attn.o_proj.bias = None);
                Ok(())
            })
        },
        fails: ATTENTION,
        first: Some("model.layers.0.self_attn.o_proj"),
        shows: |setting| biased(setting, "self_attn.o_proj"),
        ..PLANT
    },
    Plant {
        name: "sliding-window",
        does: "lets a query see one key less than the window",
        make: |correct| {
            correct.altered(|llama| {
                llama.window = llama.window.map(|window| window - 1);
                Ok(())
            })
        },
        fails: ATTENTION,
        first: SCORES,
        layer: |config| first(config, LayerType::Sliding),
        shows: |setting| filled_window(setting),
        ..PLANT
    },
    Plant {
        name: "sliding-window",
        does: "ignores the window",
        make: |correct| {
            correct.altered(|llama| {
                llama.window = None;
                Ok(())
            })
        },
        fails: ATTENTION,
        first: SCORES,
        layer: |config| first(config, LayerType::Sliding),
        shows: |setting| filled_window(setting),
        ..PLANT
    },
    Plant {
        name: "sliding-window",
        does: "gives the window to the layers that have none, and not to those that have it",
        make: |correct| {
            correct.altered(|llama| {
                let kept = llama.layers.iter().map(|block| llama.rope_of(block.layer_type).clone()).next();
                for block in &mut llama.layers {
                    block.layer_type = match block.layer_type {
                        LayerType::Full => LayerType::Sliding,
                        LayerType::Sliding => LayerType::Full,
                    };
                }
                // Only the window changes: each layer keeps its rotation.
                if let (Some(local), Some(_)) = (kept, &llama.local_rope) {
                    llama.local_rope = Some(std::mem::replace(&mut llama.rope, local));
                }
                Ok(())
            })
        },
        fails: ATTENTION,
        first: SCORES,
        shows: |setting| {
            filled_window(setting)?;
            let full = first(setting.config, LayerType::Full) < setting.config.num_hidden_layers;
            demand(full, "all layers of this model have the window")
        },
        ..PLANT
    },
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
        fails: HEADS,
        first: Q_NORM,
        shows: |setting| norms_heads(setting),
        ..PLANT
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
        fails: HEADS,
        first: Q_NORM,
        shows: |setting| norms_heads(setting),
        ..PLANT
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
        fails: HEADS,
        first: Q_NORM,
        shows: |setting| norms_heads(setting),
        ..PLANT
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
        fails: ROTATION,
        first: Q_ROPE,
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
    Plant {
        name: "embedding-scale",
        does: "does not scale the embedding",
        make: |correct| {
            correct.altered(|llama| {
                llama.embedding_scale = None;
                Ok(())
            })
        },
        fails: &["00B", "07", "09"],
        first: Some("model.embed_tokens"),
        shows: |setting| {
            demand(setting.config.embedding_scale().is_some(), "this family does not scale the embedding")
        },
        ..PLANT
    },
    Plant {
        name: "attention-scale",
        does: "scales by 1/√head_dim instead of 1/√query_pre_attn_scalar",
        make: |correct| {
            correct.altered(|llama| {
                let scale = 1.0 / (llama.config.head_dim as f64).sqrt();
                llama.layers.iter_mut().for_each(|block| block.self_attn.scale = scale);
                Ok(())
            })
        },
        fails: ATTENTION,
        first: SCORES,
        shows: |setting| {
            let other = setting.config.query_pre_attn_scalar.is_some();
            demand(other, "this model's scores are scaled by 1/√head_dim")
        },
        ..PLANT
    },
    Plant {
        name: "score-softcap",
        does: "does not cap scores",
        make: |correct| {
            correct.altered(|llama| {
                llama.layers.iter_mut().for_each(|block| block.self_attn.softcap = None);
                Ok(())
            })
        },
        fails: ATTENTION,
        first: SCORES,
        shows: |setting| {
            demand(setting.config.attn_logit_softcapping.is_some(), "this model's scores are not capped")
        },
        ..PLANT
    },
    Plant {
        name: "logit-softcap",
        does: "does not cap logits; the order of tokens stays the same",
        make: |correct| {
            correct.altered(|llama| {
                llama.softcap = Some(f64::from(u32::MAX)); // tanh(x) is x there
                Ok(())
            })
        },
        fails: &["07"],
        first: Some("lm_head.softcap"),
        shows: |setting| {
            demand(setting.config.final_logit_softcapping.is_some(), "this model's logits are not capped")
        },
        ..PLANT
    },
    Plant {
        name: "activation-function",
        does: "uses the exact GELU instead of its tanh approximation",
        make: |correct| {
            correct.driven(|llama| {
                remade(llama, |pass, site, _| match (site.kind, pass.last(Kind::Gate), pass.last(Kind::Up)) {
                    (Kind::Act, Some(gate), Some(up)) => Ok(Some((gate.gelu_erf()? * up)?)),
                    _ => Ok(None),
                })
            })
        },
        // The two functions differ by up to 5e-4.
        fails: &["05", "06", "07"],
        may: (&["09"], "the difference is small, and may change no token"),
        first: ACT,
        shows: |setting| with_gelu(setting),
        ..PLANT
    },
    Plant {
        name: "activation-function",
        does: "uses SiLU instead of GELU",
        make: |correct| {
            correct.altered(|llama| {
                llama.layers.iter_mut().for_each(|block| block.mlp.activation = Activation::Silu);
                Ok(())
            })
        },
        fails: FFN,
        first: ACT,
        shows: |setting| with_gelu(setting),
        ..PLANT
    },
];

/// Rotates with the frequencies of another scaling.
fn rotate_as(llama: &mut Llama, scaling: RopeScaling) {
    llama.rope.frequencies = Config { rope_scaling: scaling, ..llama.config.clone() }.frequencies();
}

/// The first layer of this type; the number of layers, if there is none.
pub(super) fn first(config: &Config, layer_type: LayerType) -> usize {
    let layers = config.num_hidden_layers;
    (0..layers).find(|&layer| config.layer_type(layer) == layer_type).unwrap_or(layers)
}

fn query_norms(llama: &Llama) -> Vec<Option<Norm>> {
    llama.layers.iter().map(|block| block.self_attn.q_norm.clone()).collect()
}

fn norm_at(norms: &[Option<Norm>], site: Site) -> Option<&Norm> {
    norms.get(usize::from(site.layer?))?.as_ref()
}

/// The norm over a whole row, with the weight of a head repeated: `[b, s, heads * head_dim]` → the same shape.
fn whole_row(norm: &Norm, x: &Tensor) -> Result<Tensor> {
    let heads = x.dim(D::Minus1)? / norm.weight.dim(0)?;
    let wide = x.to_dtype(candle_core::DType::F32)?;
    let mean = wide.sqr()?.mean_keepdim(D::Minus1)?;
    let normed = wide.broadcast_div(&(mean + norm.eps)?.sqrt()?)?.to_dtype(x.dtype())?;
    Ok(normed.broadcast_mul(&norm.weight.repeat(heads)?)?)
}

fn as_llama3(setting: &Setting<'_>) -> Result<(), String> {
    let llama3 = matches!(setting.config.rope_scaling, RopeScaling::Llama3 { .. });
    demand(llama3, "this model's rotation is not scaled as in Llama 3")
}

fn biased(setting: &Setting<'_>, module: &str) -> Result<(), String> {
    demand(setting.config.biases.contains(module), "this model has no such bias")
}

fn norms_heads(setting: &Setting<'_>) -> Result<(), String> {
    demand(setting.config.family.norms_heads(), "this family does not norm queries and keys")
}

fn with_gelu(setting: &Setting<'_>) -> Result<(), String> {
    let gelu = setting.config.family.activation() == Activation::GeluTanh;
    demand(gelu, "this family's activation is not GELU")
}

/// Requires a case that is longer than the window.
pub(super) fn filled_window(setting: &Setting<'_>) -> Result<(), String> {
    let longest = setting.cases.iter().map(Reference::length).max().unwrap_or(0);
    let full = setting.config.sliding_window.is_some_and(|window| window < longest);
    demand(full, "this model has no sliding window that a case fills")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::mistakes;

    /// A name may occur several times, a description only once.
    #[test]
    fn every_plant_has_a_known_name_and_its_own_description() {
        let known = |name: &str| mistakes::find(name).is_some() || mistakes::find_identified(name).is_some();
        assert!(PLANTS.iter().all(|plant| known(plant.name)));
        let described: BTreeSet<&str> = PLANTS.iter().map(|plant| plant.does).collect();
        assert_eq!(described.len(), PLANTS.len());
    }
}
