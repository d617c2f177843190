//! Rounds a row before a product with quantised blocks, as the kernels of ggml and Candle do.
//! `scripts/capture/quantized.py` applies the same rounding to the reference.

use candle_core::Device;
use half::f16;

use super::rows::Rows;
use crate::Result;
use crate::graph::MatrixRows;
use crate::probe;
use crate::weights::{RopeLayout, Weights};

/// The two roundings that correct kernels use. They differ in how a value half-way between two steps is
/// rounded, and in how the sum of a block is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    /// ggml's portable code, also used by Candle: ties are rounded away from zero.
    Portable,
    /// ggml's AVX code: ties are rounded to the even step.
    Vector,
}

/// How a product with the blocks of one matrix differs from a product with the dequantised matrix.
#[derive(Clone, Debug)]
pub struct Blocks {
    /// The number of activations that share a scale.
    width: usize,
    /// The minimum of each block of weights, `[out, blocks]`, for block types that store one.
    minima: Option<Rows>,
}

/// The size in bytes of a block of 32 weights, for block types that store a minimum after the scale.
const WITH_MINIMUM: [(&str, usize); 2] = [("Q4_1", 20), ("Q5_1", 24)];

impl Blocks {
    /// The blocks of the matrix `name`; `None` if it is stored in floats or the arithmetic is dense.
    ///
    /// # Errors
    /// The blocks cannot be read.
    pub(super) fn of(weights: &Weights, name: &str, arithmetic: probe::Arithmetic) -> Result<Option<Self>> {
        let (stored, _) = weights.stored(name).unwrap_or_default();
        let shape = weights.shape(name).unwrap_or_default().to_vec();
        let floats = matches!(stored.as_str(), "F32" | "F16" | "BF16" | "F64");
        let (&[out, inner], false) = (&shape[..], floats || arithmetic == probe::Arithmetic::Dense) else {
            return Ok(None);
        };
        let wide = stored == "Q8_0" && inner % 256 == 0 && out % 16 == 0;
        let width = match arithmetic {
            _ if stored.ends_with('K') => 256,
            probe::Arithmetic::Blocks256 if wide => 256,
            _ => 32,
        };
        let bytes = WITH_MINIMUM.iter().find(|(kind, _)| *kind == stored).map(|&(_, bytes)| bytes);
        let minima = bytes.map(|bytes| minima(weights, name, out, bytes)).transpose()?;
        Ok(Some(Self { width, minima }))
    }

    /// The blocks of only these rows of the matrix.
    pub(super) fn only(&self, rows: &MatrixRows) -> Self {
        let rows = rows.numbers();
        let minima = self.minima.as_ref().map(|minima| {
            Rows::from_fn(rows.len(), minima.width, |r, block| minima.row(rows[r] as usize)[block])
        });
        Self { minima, ..*self }
    }

    /// `x` as the kernel rounds it, `[rows, in]`, and a correction to add to the product, `[rows, out]`, if
    /// the blocks store minima.
    pub(super) fn rounded(&self, x: &Rows, kernel: Kernel) -> (Rows, Option<Rows>) {
        let count = (x.width / self.width).max(1);
        let (mut values, mut off) = (x.clone(), Rows::from_fn(x.len(), count, |_, _| 0.0));
        for (row, off) in values.values.chunks_exact_mut(x.width).zip(off.values.chunks_exact_mut(count)) {
            for (block, off) in row.chunks_exact_mut(self.width).zip(off) {
                let sum = kernel.round(block);
                *off = sum - block.iter().sum::<f64>();
            }
        }
        let added = self.minima.as_ref().map(|minima| {
            Rows::from_fn(x.len(), minima.len(), |r, j| {
                off.row(r).iter().zip(minima.row(j)).map(|(off, minimum)| off * minimum).sum()
            }) // [rows, out]
        });
        (values, added)
    }
}

impl Kernel {
    /// Rounds a block in place and returns its sum as the kernel computes it.
    fn round(self, block: &mut [f64]) -> f64 {
        let largest =
            block.iter().fold(0f32, |most, &v| if (v as f32).abs() > most.abs() { v as f32 } else { most });
        let amax = largest.abs();
        if amax == 0.0 {
            block.fill(0.0);
            return 0.0;
        }
        let (inverse, kept, limit) = match (block.len(), self) {
            (32, Self::Portable) => {
                (1.0 / (amax / 127.0), f16::from_f32(amax / 127.0).to_f64(), f64::INFINITY)
            }
            (32, Self::Vector) => (127.0 / amax, f16::from_f32(amax / 127.0).to_f64(), f64::INFINITY),
            _ => (-127.0 / largest, f64::from(1.0 / (-127.0 / largest)), 127.0),
        };
        let mut total = 0.0;
        for value in block.iter_mut() {
            let scaled = *value as f32 * inverse;
            let step = f64::from(match self {
                Self::Portable => scaled.round(),
                Self::Vector => scaled.round_ties_even(),
            });
            let step = step.min(limit);
            total += step;
            *value = step * kept;
        }
        let scale = amax / 127.0;
        match self {
            Self::Portable => (f16::from_f64(total) * f16::from_f32(scale)).to_f64(),
            Self::Vector => f16::from_f32(total as f32 * scale).to_f64(),
        }
    }
}

/// The minimum of each block, `[out, blocks]`, rows in Hugging Face's order.
fn minima(weights: &Weights, name: &str, out: usize, bytes: usize) -> Result<Rows> {
    let stored = weights.quantized(name, &Device::Cpu)?;
    let data = stored.data()?;
    let values: Vec<f64> =
        data.chunks_exact(bytes).map(|block| f16::from_le_bytes([block[2], block[3]]).to_f64()).collect();
    let rows = Rows::new(values.len() / out, values);
    let config = weights.config();
    let turned = name.ends_with(".self_attn.q_proj.weight") || name.ends_with(".self_attn.k_proj.weight");
    if !turned || config.rope_layout == RopeLayout::HalfSplit {
        return Ok(rows);
    }
    // The file interleaves the halves of a head: row j is stored at 2j, or at 2j − head_dim + 1 in the second
    // half.
    let (d, half) = (config.head_dim, config.head_dim / 2);
    let from = |j: usize| j / d * d + j % half * 2 + j % d / half;
    Ok(Rows::from_fn(rows.len(), rows.width, |r, block| rows.row(from(r))[block]))
}
