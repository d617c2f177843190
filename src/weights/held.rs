//! Weights of which a part is in memory, dequantised once.

use candle_core::{DType, Device};

use super::{RopeLayout, Weights};
use crate::Result;

/// The number of entries of a large matrix that are dequantised at once.
const SLICE: usize = 1 << 25;

impl Weights {
    /// The same weights, with the tensors whose names begin with `prefix` dequantised in memory.
    ///
    /// # Errors
    /// A tensor cannot be read.
    pub fn held(&self, prefix: &str) -> Result<Self> {
        let mut held = self.clone();
        for name in self.names().iter().filter(|name| name.starts_with(prefix)) {
            held.replace(name, self.tensor(name, DType::F32, &Device::Cpu)?);
        }
        Ok(held)
    }

    /// The same weights with the tensors in memory in Hugging Face's order of rows, so that
    /// [`Weights::canonical`] returns them without a copy. All others must not be read from these weights.
    ///
    /// # Errors
    /// None in practice.
    pub fn held_in_order(&self) -> Result<Self> {
        let mut held = self.clone();
        for name in self.replaced.keys() {
            held.replace(name, self.canonical(name)?);
        }
        held.set_config(super::Config { rope_layout: RopeLayout::HalfSplit, ..self.config.clone() });
        Ok(held)
    }

    /// The numbers of the rows of a matrix, in slices that are small enough to be dequantised one at a time.
    pub fn slices(&self, name: &str) -> Vec<Vec<u32>> {
        let Some(&[rows, width]) = self.shape(name) else { return vec![] };
        let all: Vec<u32> = (0..u32::try_from(rows).unwrap_or(u32::MAX)).collect();
        all.chunks((SLICE / width.max(1)).max(1)).map(<[u32]>::to_vec).collect()
    }
}
