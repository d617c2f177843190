//! The rotation of queries and keys, built on `candle_nn::rotary_emb::{rope, rope_i}`, which take one pass
//! where tensor operations take eight.
//!
//! The order of the weight's rows decides which of the two is right: `rope` rotates element i with i +
//! head_dim/2 (Hugging Face), `rope_i` rotates 2i with 2i + 1 (GGUF llama). They agree at position 0, and
//! both preserve norms. Both require contiguous `[b, heads, s, head_dim]`, and cos and sin in the input's
//! dtype; a table `[b, s, head_dim/2]` gives each row its own positions and must not be longer than the
//! sequence. We compute angles in f64, because f32 angles are off by 1e-4 at position 900, and only for the
//! positions of this pass, so that no table limits the context. Half precision is rotated in f32 and rounded
//! once.

use candle_core::{DType, Device, Tensor};
use candle_nn::rotary_emb::{rope, rope_i};

use crate::Result;
use crate::weights::{Config, RopeLayout};

/// The angle by which each pair of a head turns per position.
#[derive(Clone, Debug)]
pub struct Rope {
    /// θ^(−2i / head_dim) for pair i, scaled as the config says, `[head_dim/2]`.
    pub frequencies: Vec<f64>,
    /// Which elements form a pair.
    pub layout: RopeLayout,
}

impl Rope {
    /// The angles for the heads of `config`.
    pub fn new(config: &Config) -> Self {
        Self { frequencies: config.frequencies(), layout: config.rope_layout }
    }

    /// The angles in its layers with a window, if they differ.
    pub fn local(config: &Config) -> Option<Self> {
        Some(Self { frequencies: config.local_frequencies()?, layout: config.rope_layout })
    }

    /// The rotation of every token of a batch, given its positions, `[b][s]`.
    pub fn at(&self, positions: &[Vec<usize>], device: &Device) -> Result<Rotation> {
        let shape = (positions.len(), positions.first().map_or(0, Vec::len), self.frequencies.len());
        let angles: Vec<f64> = positions
            .iter()
            .flatten()
            .flat_map(|&position| self.frequencies.iter().map(move |f| position as f64 * f))
            .collect();
        let table = |of: fn(f64) -> f64| {
            let values: Vec<f32> = angles.iter().map(|&angle| of(angle) as f32).collect();
            Tensor::from_vec(values, shape, device) // [b, s, head_dim/2]
        };
        Ok(Rotation { cos: table(f64::cos)?, sin: table(f64::sin)?, layout: self.layout })
    }
}

/// The rotation of one forward pass, shared by all layers, queries and keys.
#[derive(Clone, Debug)]
pub struct Rotation {
    cos: Tensor,
    sin: Tensor,
    layout: RopeLayout,
}

impl Rotation {
    /// Rotates contiguous `[b, heads, s, head_dim]`.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let rotate = match self.layout {
            RopeLayout::HalfSplit => rope,
            RopeLayout::Interleaved => rope_i,
        };
        let wide = x.to_dtype(DType::F32)?; // [b, heads, s, head_dim]
        let rotated = rotate(&wide, &self.cos, &self.sin)?; // [b, heads, s, head_dim]
        Ok(rotated.to_dtype(x.dtype())?)
    }
}
