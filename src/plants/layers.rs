//! Planted mistakes in norms and the feed-forward network: rows 20 to 24 and 28 of the catalogue.

use std::collections::BTreeMap;

use candle_core::{D, DType, Tensor};

use super::plant::{PLANT, Plant};
use super::remake::remade;
use crate::Result;
use crate::model::{Llama, Norm};
use crate::probe::{Kind, Site};
use crate::weights::{Activation, Config};

/// Why rounding inside a float32 port may show where two of its runs are compared.
const FLIPS: &str = "two runs that differ in the last bit of a float32 may round to different bf16 values";

pub const PLANTS: &[Plant] = &[
    Plant {
        name: "norm-eps",
        does: "uses a tenth of ε, or a hundred times ε if that is under 1e-5",
        unseen: &[
            (DType::BF16, "an ε this small changes a row by less than one rounding; it shows in f32"),
            (DType::F16, "an ε this small changes a row by less than one rounding; it shows in f32"),
        ],
        make: |correct| {
            correct.altered(|llama| {
                norms(llama).for_each(|(_, norm)| norm.eps *= if norm.eps < 1e-5 { 100.0 } else { 0.1 });
                Ok(())
            })
        },
        fails: &["01", "06", "07"],
        also: normed_heads,
        first: Some("model.layers.0.input_layernorm"),
        ..PLANT
    },
    Plant {
        name: "norm-plus-one",
        does: "multiplies by 1 + w",
        make: |correct| {
            correct.altered(|llama| {
                norms(llama).try_for_each(|(_, norm)| {
                    norm.weight = (&norm.weight + 1.0)?;
                    Ok(())
                })
            })
        },
        fails: &["01", "06", "07", "09"],
        also: normed_heads,
        first: Some("model.layers.0.input_layernorm"),
        ..PLANT
    },
    Plant {
        name: "norm-low-precision",
        may: (&["04"], FLIPS),
        unseen: &[(
            DType::BF16,
            "the error of a short sum is a rounding or two, like that of bf16 outputs; it shows in f32 and f16",
        )],
        does: "squares, sums, divides and multiplies in bf16",
        make: |correct| {
            correct.driven(|mut llama| {
                let unchanged: BTreeMap<Site, Norm> =
                    norms(&mut llama).map(|(site, norm)| (site, norm.clone())).collect();
                let kinds = llama.kinds();
                remade(llama, move |pass, site, _| {
                    let x = match kinds.inputs(site.kind) {
                        [Kind::Block] => pass.stream(),
                        inputs => inputs.first().and_then(|&input| pass.last(input)),
                    };
                    let (Some(norm), Some(x)) = (unchanged.get(&site), x) else { return Ok(None) };
                    half_norm(norm, x).map(Some)
                })
            })
        },
        fails: &["01", "06", "07", "09"],
        also: normed_heads,
        first: Some("model.layers.0.input_layernorm"),
        ..PLANT
    },
    Plant {
        name: "gate-up-swapped",
        does: "swaps gate_proj and up_proj",
        make: |correct| {
            correct.altered(|llama| {
                for block in &mut llama.layers {
                    std::mem::swap(&mut block.mlp.gate_proj, &mut block.mlp.up_proj);
                }
                Ok(())
            })
        },
        fails: &["05", "06", "07", "09"],
        first: Some("model.layers.0.mlp.gate_proj"),
        ..PLANT
    },
    Plant {
        name: "act-half",
        may: (&["04", "09"], FLIPS),
        unseen: &[(DType::BF16, "its steps are rounded like bf16 outputs; it shows in f32 and f16")],
        does: "computes activation(gate) · up in bf16, step by step",
        make: |correct| {
            correct.driven(|llama| {
                let function = llama.config.family.activation();
                remade(llama, move |pass, site, _| {
                    let (Kind::Act, Some(gate), Some(up)) =
                        (site.kind, pass.last(Kind::Gate), pass.last(Kind::Up))
                    else {
                        return Ok(None);
                    };
                    half_act(function, gate, up).map(Some)
                })
            })
        },
        fails: &["05", "06", "07"],
        first: Some("model.layers.0.mlp.act"),
        ..PLANT
    },
    Plant {
        name: "f16-overflow",
        does: "scales down_proj to the range of f16 and scales its products back, which are then infinite",
        make: |correct| {
            correct.driven(|llama| {
                let down: Vec<_> = llama.layers.iter().map(|block| block.mlp.down_proj.clone()).collect();
                remade(llama, move |pass, site, _| {
                    let (Kind::Down, Some(layer), Some(x)) = (site.kind, site.layer, pass.last(Kind::Act))
                    else {
                        return Ok(None);
                    };
                    let down = &down[usize::from(layer)];
                    down.biased(overflowing(x, &down.widened()?)?).map(Some)
                })
            })
        },
        // Checkpoint 04 fills the context and requires finite logits.
        fails: &["04", "05", "06", "07", "09"],
        may: (&["03"], "plain attention multiplies the NaN in a padded value by 0, which gives NaN"),
        first: Some("model.layers.0.mlp.down_proj"),
        ..PLANT
    },
];

/// The checkpoint that judges the norms of queries and keys, in a family that has them.
fn normed_heads(config: &Config) -> &'static [&'static str] {
    if config.family.norms_heads() { &["02"] } else { &[] }
}

/// Every norm with the site that it computes, layer by layer; the final norm is last.
fn norms(llama: &mut Llama) -> impl Iterator<Item = (Site, &mut Norm)> {
    let of_layers = llama.layers.iter_mut().enumerate().flat_map(|(layer, block)| {
        block.norms().into_iter().map(move |(kind, norm)| (Site::layer(layer, kind), norm))
    });
    of_layers.chain(std::iter::once((Site::model(Kind::FinalNorm), &mut llama.norm)))
}

/// RMSNorm of each row, or of each head of it, with every number in bf16, including the running sum:
/// `[b, s, width]` → the same shape.
fn half_norm(norm: &Norm, x: &Tensor) -> Result<Tensor> {
    let (b, s, _) = x.dims3()?;
    let run = norm.weight.dim(0)?; // hidden, or head_dim
    let half = x.reshape((b, s, (), run))?.to_dtype(DType::BF16)?; // [b, s, runs, run]
    let mean = (half.sqr()?.sum_keepdim(D::Minus1)? / run as f64)?; // [b, s, runs, 1]
    let normed = half.broadcast_div(&(mean + norm.eps)?.sqrt()?)?;
    let weighted = normed.broadcast_mul(&norm.weight.to_dtype(DType::BF16)?)?;
    Ok(weighted.reshape(x.shape())?.to_dtype(x.dtype())?)
}

/// activation(gate) · up, rounded to bf16 after each step.
fn half_act(function: Activation, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    let (half_gate, half_up) = (gate.to_dtype(DType::BF16)?, up.to_dtype(DType::BF16)?);
    let active = match function {
        Activation::Silu => (&half_gate * (half_gate.neg()?.exp()? + 1.0)?.recip()?)?,
        // Candle's own function computes each step in its input's dtype.
        Activation::GeluTanh => half_gate.gelu()?,
    };
    Ok((active * half_up)?.to_dtype(gate.dtype())?)
}

/// x · (c·w)ᵀ in f16, divided by c, where c scales the largest weight to f16's maximum: `[b, s, out]`.
fn overflowing(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let wide = weight.to_dtype(DType::F32)?;
    let largest: f32 = wide.abs()?.flatten_all()?.max(0)?.to_scalar()?;
    let stretch = f64::from(half::f16::MAX.to_f32() / largest);
    let product = x.to_dtype(DType::F32)?.broadcast_matmul(&(wide * stretch)?.t()?)?; // [b, s, out]
    // As in an f16 accumulator, a value past 65504 becomes infinite.
    Ok((product.to_dtype(DType::F16)?.to_dtype(DType::F32)? / stretch)?.to_dtype(x.dtype())?)
}
