//! Planted mistakes in rotations and positions: rows 1 to 5 and 7 of the catalogue.

use candle_core::{DType, Tensor};
use candle_nn::rotary_emb::{rope, rope_i};

use super::making::{demand, first_layer};
use super::plant::{PLANT, Plant};
use super::remake::{PassSoFar, remade};
use crate::Result;
use crate::model::{Llama, Rope};
use crate::probe::{Kind, Kinds, Site};
use crate::weights::{Config, LayerType, RopeLayout, RopeScaling};

/// The θ of a port that does not read its config.
const DEFAULT_THETA: f64 = 10_000.0;

pub const PLANTS: &[Plant] = &[
    Plant {
        name: "rope-pairing",
        does: "rotates the pairs of the other layout",
        make: |correct| {
            correct.altered(|llama| {
                let ropes = [Some(&mut llama.rope), llama.local_rope.as_mut()];
                ropes.into_iter().flatten().for_each(|rope| rope.layout = other(rope.layout));
                Ok(())
            })
        },
        fails: &["01B", "06", "07", "09"],
        first: Some("model.layers.0.self_attn.q_rope"),
        ..PLANT
    },
    Plant {
        name: "unpermuted-qk",
        does: "reads the rows of q and k in the order of the other layout",
        make: |correct| {
            correct.misread(|files| {
                let (head_dim, layout) = (files.config.head_dim, files.config.rope_layout);
                for name in files.weights.names() {
                    if name.ends_with("q_proj.weight") || name.ends_with("k_proj.weight") {
                        let rows = files.weights.tensor(&name, DType::F32, &candle_core::Device::Cpu)?;
                        files.weights.replace(&name, relaid(&rows, head_dim, layout)?);
                    }
                }
                Ok(())
            })
        },
        fails: &["00", "02", "06", "07", "09"],
        first: Some("model.layers.0.self_attn.q_proj"),
        ..PLANT
    },
    Plant {
        name: "rope-theta",
        does: "uses θ = 10000 instead of the config's",
        make: |correct| {
            correct.misread(|files| {
                files.config.rope_theta = DEFAULT_THETA;
                Ok(())
            })
        },
        fails: &["00", "01B", "06", "07", "09"],
        first: Some("model.layers.0.self_attn.q_rope"),
        layer: first_full_layer,
        shows: |setting| {
            demand(setting.config.rope_theta != DEFAULT_THETA, "this model's θ is 10000, the default")
        },
        ..PLANT
    },
    Plant {
        name: "rope-scaling",
        does: "leaves the frequencies as they are without scaling",
        make: |correct| {
            correct.misread(|files| {
                files.config.rope_scaling = RopeScaling::None;
                Ok(())
            })
        },
        fails: &["00", "01B", "06", "07", "09"],
        first: Some("model.layers.0.self_attn.q_rope"),
        layer: first_full_layer,
        shows: |setting| {
            demand(setting.config.rope_scaling != RopeScaling::None, "this model has no rope scaling")
        },
        ..PLANT
    },
    Plant {
        name: "rope-half-tables",
        does: "computes positions, frequencies, angles, cos and sin in bf16",
        make: |correct| {
            correct.driven(|llama| {
                let (ropes, heads) = (ropes(&llama), HeadCounts::of(&llama));
                remade(llama, move |pass, site, _| {
                    let Some(x) = heads.unrotated(pass, site)? else { return Ok(None) };
                    half_tables(&ropes[site.layer.map_or(0, usize::from)], &pass.input.positions, &x)
                        .map(Some)
                })
            })
        },
        // bf16 represents every whole number up to 256 exactly.
        reach: |_| 257,
        fails: &["01B", "06", "07"],
        may: (&["09"], "the stored prompts are short, and most of their greedy tokens stay the same"),
        first: Some("model.layers.0.self_attn.q_rope"),
        shows: |setting| {
            let far = setting.cases.iter().any(|case| case.length() > 256);
            let lacks =
                "no case passes position 256; up to there, correct half precision rounds as much: use f32";
            demand(far || setting.dtype == DType::F32, lacks)
        },
        ..PLANT
    },
    Plant {
        name: "shared-counter",
        does: "advances the position after layer 0 in every decoding step",
        make: |correct| {
            correct.driven(|llama| {
                let (ropes, heads) = (ropes(&llama), HeadCounts::of(&llama));
                remade(llama, move |pass, site, _| {
                    let decoding =
                        pass.input.len() == 1 && pass.input.positions.iter().flatten().all(|&p| p > 0);
                    let Some(x) = heads.unrotated(pass, site)? else { return Ok(None) };
                    if site.layer == Some(0) || !decoding {
                        return Ok(None);
                    }
                    let ahead: Vec<Vec<usize>> =
                        pass.input.positions.iter().map(|row| row.iter().map(|p| p + 1).collect()).collect();
                    let rope = &ropes[site.layer.map_or(0, usize::from)];
                    let wide = rope.at(&ahead, x.device())?.apply(&x)?;
                    Ok(Some(wide))
                })
            })
        },
        fails: &["04", "09"],
        first: Some("model.layers.1.self_attn.q_rope"),
        ..PLANT
    },
];

/// The first layer that turns by `rope_theta` and `rope_scaling`: in Gemma 3, layers with a window do not.
fn first_full_layer(config: &Config) -> usize {
    if config.local_rope_theta.is_none() { 0 } else { first_layer(config, LayerType::Full) }
}

fn other(layout: RopeLayout) -> RopeLayout {
    match layout {
        RopeLayout::HalfSplit => RopeLayout::Interleaved,
        RopeLayout::Interleaved => RopeLayout::HalfSplit,
    }
}

/// Reorders rows, `[rows, in]`, from `layout` to the other layout.
fn relaid(rows: &Tensor, head_dim: usize, layout: RopeLayout) -> Result<Tensor> {
    let (n, width) = rows.dims2()?;
    let (members, pairs) = match layout {
        RopeLayout::HalfSplit => (2, head_dim / 2),
        RopeLayout::Interleaved => (head_dim / 2, 2),
    };
    let heads = rows.reshape((n / head_dim, members, pairs, width))?;
    Ok(heads.transpose(1, 2)?.contiguous()?.reshape((n, width))?)
}

/// The rotation of each layer.
fn ropes(llama: &Llama) -> Vec<Rope> {
    llama.layers.iter().map(|block| llama.rope_of(block.layer_type).clone()).collect()
}

/// The shape of heads in the projections.
struct HeadCounts {
    kinds: Kinds,
    queries: usize,
    keys: usize,
    head_dim: usize,
}

impl HeadCounts {
    fn of(llama: &Llama) -> Self {
        let config = &llama.config;
        let (queries, keys) = (config.num_attention_heads, config.num_key_value_heads);
        Self { kinds: llama.kinds(), queries, keys, head_dim: config.head_dim }
    }

    /// The input of the rotation at `site`, `[b, heads, s, head_dim]`; `None` at other sites.
    fn unrotated(&self, pass: &PassSoFar, site: Site) -> Result<Option<Tensor>> {
        let heads = match site.kind {
            Kind::QRope => self.queries,
            Kind::KRope => self.keys,
            _ => return Ok(None),
        };
        let x = self.kinds.inputs(site.kind).first().and_then(|&input| pass.last(input));
        let Some(x) = x else { return Ok(None) };
        let (b, s, _) = x.dims3()?;
        Ok(Some(x.reshape((b, s, heads, self.head_dim))?.transpose(1, 2)?.contiguous()?))
    }
}

/// Rotates `[b, heads, s, head_dim]` with tables in which every number is bf16.
fn half_tables(rope_of: &Rope, positions: &[Vec<usize>], x: &Tensor) -> Result<Tensor> {
    let half = |values: Vec<f32>, shape: (usize, usize, usize)| {
        Tensor::from_vec(values, shape, x.device())?.to_dtype(DType::BF16)
    };
    let (batch, s, pairs) = (positions.len(), positions[0].len(), rope_of.frequencies.len());
    let at = half(positions.iter().flatten().map(|&p| p as f32).collect(), (batch, s, 1))?;
    let turns = half(rope_of.frequencies.iter().map(|&f| f as f32).collect(), (1, 1, pairs))?;
    let angles = at.broadcast_mul(&turns)?; // [b, s, head_dim/2]
    let (cos, sin) = (angles.cos()?.to_dtype(DType::F32)?, angles.sin()?.to_dtype(DType::F32)?);
    let wide = x.to_dtype(DType::F32)?;
    let rotated = match rope_of.layout {
        RopeLayout::HalfSplit => rope(&wide, &cos, &sin)?,
        RopeLayout::Interleaved => rope_i(&wide, &cos, &sin)?,
    };
    Ok(rotated.to_dtype(x.dtype())?)
}
