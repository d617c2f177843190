//! Planted differences that are not mistakes: rows 39, 40 and 42 of the catalogue. No checkpoint may fail
//! because of them.

use candle_core::{DType, Tensor};

use super::faulty::{Fault, Faulty};
use super::making::demand;
use super::plant::{PLANT, Plant};
use super::products;
use super::remake::{PassSoFar, remade};
use crate::Result;
use crate::model::{Llama, Projection};
use crate::port::LlamaPort;

pub const PLANTS: &[Plant] = &[
    Plant {
        name: "tie-break",
        does: "takes the second of two tokens whose logits differ by less than one rounding",
        make: |correct| correct.driven(|llama| Faulty::new(LlamaPort::new(llama), OtherOfTwo)),
        shows: |setting| {
            demand(
                setting.dtype == DType::BF16,
                "in this dtype no two logits are within one rounding: use --dtype bf16",
            )
        },
        ..PLANT
    },
    Plant {
        name: "batch-variance",
        does: "sums the first layer's products in another order when a batch has several rows",
        make: |correct| correct.driven(|llama| resummed(llama, last_to_first, |pass| pass.input.batch() > 1)),
        first: Some("model.layers.0.self_attn.q_proj"),
        shows: |setting| setting.batch().and(setting.dense()),
        ..PLANT
    },
    Plant {
        name: "fma",
        does: "sums the first layer's products by fused multiply-adds",
        make: |correct| correct.driven(|llama| resummed(llama, fused, |_| true)),
        first: Some("model.layers.0.self_attn.q_proj"),
        shows: |setting| setting.dense(),
        ..PLANT
    },
];

/// Computes x · w, both `[n]`.
type DotProduct = fn(&[f32], &[f32]) -> f32;

fn last_to_first(x: &[f32], w: &[f32]) -> f32 {
    x.iter().zip(w).rev().fold(0.0, |sum, (x, w)| sum + x * w)
}

fn fused(x: &[f32], w: &[f32]) -> f32 {
    x.iter().zip(w).fold(0.0, |sum, (x, w)| x.mul_add(*w, sum))
}

/// The port of `llama` that sums its first layer's products with `dot` where `when` is true. It changes one
/// layer only, because plain loops are slow.
fn resummed(llama: Llama, dot: DotProduct, when: fn(&PassSoFar) -> bool) -> impl crate::port::Port {
    let (first, kinds) = (llama.layers[0].clone(), llama.kinds());
    remade(llama, move |pass, site, _| match products::in_block(&first, kinds, pass, site) {
        Some((x, layer)) if site.layer == Some(0) && when(pass) => resum(x, layer, dot).map(Some),
        _ => Ok(None),
    })
}

/// The layer's output, `[b, s, in]` → `[b, s, out]`. The product is summed in f32 and rounded once.
fn resum(x: &Tensor, layer: &Projection, dot: DotProduct) -> Result<Tensor> {
    let weight = layer.widened()?;
    let ((b, s, width), (out, _)) = (x.dims3()?, weight.dims2()?);
    let values = |t: &Tensor| t.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
    let (rows, weight) = (values(x)?, values(&weight)?);
    let sums: Vec<f32> =
        rows.chunks(width).flat_map(|row| weight.chunks(width).map(move |w| dot(row, w))).collect();
    layer.biased(Tensor::from_vec(sums, (b, s, out), x.device())?.to_dtype(x.dtype())?)
}

struct OtherOfTwo;

impl Fault for OtherOfTwo {
    /// Swaps the two largest logits of each last row if they differ by at most one unit in the last place.
    fn logits(&mut self, logits: Tensor) -> Result<Tensor> {
        let (b, s, vocab) = logits.dims3()?;
        let mut values: Vec<f32> = logits.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let ulp = crate::compare::ulp(logits.dtype()) as f32;
        for row in values.chunks_mut(vocab).skip(s - 1).step_by(s) {
            let best = largest(row, None);
            let Some(second) = best.and_then(|best| largest(row, Some(best))) else { continue };
            let best = best.unwrap_or(second);
            let place = ulp * row[best].abs().log2().floor().exp2();
            if row[best] - row[second] <= place {
                row.swap(best, second);
                // Of equal logits the first is taken, so make the other one larger.
                row[second] = row[second].max(row[best]) + place;
            }
        }
        Ok(Tensor::from_vec(values, (b, s, vocab), logits.device())?.to_dtype(logits.dtype())?)
    }
}

/// The index of the largest value, except the index `but`.
fn largest(row: &[f32], but: Option<usize>) -> Option<usize> {
    (0..row.len()).filter(|&at| Some(at) != but).max_by(|&a, &b| row[a].total_cmp(&row[b]).then(b.cmp(&a)))
}
