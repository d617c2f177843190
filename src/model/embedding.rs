//! The embedding, built on `candle_nn::Embedding` for floats. If the output layer has the same matrix in quantised
//! blocks, rows are dequantised from these when they are needed, so that no second copy is kept.

use std::sync::Arc;

use candle_core::{DType, Device, Module, Tensor};

use crate::Result;
use crate::blocks::Packed;

/// The matrix that has a row for each token, `[vocab, hidden]`.
#[derive(Clone, Debug)]
pub struct Embedding(Table);

#[derive(Clone, Debug)]
enum Table {
    /// Floats of the model's dtype.
    Floats(candle_nn::Embedding),
    /// Quantised blocks, whose rows are rounded to this dtype.
    Blocks(Arc<Packed>, DType),
}

impl Embedding {
    /// The floats of `matrix`, `[vocab, hidden]`.
    ///
    /// # Errors
    /// It is not a matrix.
    pub fn floats(matrix: Tensor) -> Result<Self> {
        let (_, hidden) = matrix.dims2()?;
        Ok(Self(Table::Floats(candle_nn::Embedding::new(matrix, hidden))))
    }

    /// The quantised blocks of the output layer's matrix.
    pub(super) const fn blocks(packed: Arc<Packed>, dtype: DType) -> Self {
        Self(Table::Blocks(packed, dtype))
    }

    /// The whole matrix, `[vocab, hidden]`.
    ///
    /// # Errors
    /// None in practice.
    pub fn widened(&self) -> Result<Tensor> {
        match &self.0 {
            Table::Floats(embedding) => Ok(embedding.embeddings().clone()),
            Table::Blocks(packed, dtype) => {
                Ok(Tensor::from_vec(packed.rows(), packed.shape(), &Device::Cpu)?.to_dtype(*dtype)?)
            }
        }
    }

    /// The rows of these tokens, which must be in the vocabulary: `[b][s]` → `[b, s, hidden]`.
    ///
    /// # Errors
    /// The device has no memory for them.
    pub fn rows(&self, ids: &[Vec<u32>], device: &Device) -> Result<Tensor> {
        let (b, s) = (ids.len(), ids.first().map_or(0, Vec::len));
        match &self.0 {
            Table::Floats(embedding) => {
                Ok(embedding.forward(&Tensor::from_vec(ids.concat(), (b, s), device)?)?)
            }
            Table::Blocks(packed, dtype) => {
                let (_, hidden) = packed.shape();
                let mut rows = vec![0f32; b * s * hidden];
                for (to, &id) in rows.chunks_exact_mut(hidden).zip(ids.iter().flatten()) {
                    packed.row(id as usize, to);
                }
                Ok(Tensor::from_vec(rows, (b, s, hidden), device)?.to_dtype(*dtype)?)
            }
        }
    }
}
