//! Named tensors → layers, each of the shape that the config promises: a matrix of the wrong shape
//! is an error that names it, here rather than in some later product.

use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use candle_nn::Linear;

use super::projection::{Matmul, Projection};
use crate::weights::Weights;
use crate::{Error, Result};

/// Where tensors come from, and what they become.
#[derive(Clone, Copy)]
pub struct Loader<'a> {
    /// The model's file.
    pub weights: &'a Weights,
    /// Where they go.
    pub device: &'a Device,
    /// What they are rounded to.
    pub dtype: DType,
    /// What becomes of matrices.
    pub matmul: Matmul,
}

impl Loader<'_> {
    /// The tensor `name`, which must have this shape.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let tensor = self.weights.tensor(name, self.dtype, self.device)?;
        promised(name, tensor.dims(), shape)?;
        Ok(tensor)
    }

    /// A linear layer without bias: `[out, in]` as stored, transposed by the product itself.
    pub fn linear(&self, name: &str, outputs: usize, inputs: usize) -> Result<Projection> {
        let shape = [outputs, inputs];
        match self.blocks(name)? {
            None => Ok(Linear::new(self.tensor(name, &shape)?, None).into()),
            Some(blocks) => {
                promised(name, blocks.shape().dims(), &shape)?;
                Ok(Projection::blocks(blocks))
            }
        }
    }

    /// The same for a matrix that is already here as floats, as an embedding is.
    pub fn tied(&self, name: &str, floats: &Tensor) -> Result<Projection> {
        match self.blocks(name)? {
            None => Ok(Linear::new(floats.clone(), None).into()),
            Some(blocks) => Ok(Projection::blocks(blocks)),
        }
    }

    /// The matrix in its blocks, where it has some and they are asked for.
    fn blocks(&self, name: &str) -> Result<Option<Arc<QTensor>>> {
        if self.matmul == Matmul::Dense {
            return Ok(None);
        }
        let blocks = self.weights.quantized(name, self.device)?;
        let floats = matches!(blocks.dtype(), GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16);
        Ok((!floats).then_some(blocks))
    }
}

fn promised(name: &str, got: &[usize], want: &[usize]) -> Result<()> {
    if got == want {
        return Ok(());
    }
    Err(Error::input(
        format!("{name} is {got:?}, its config says {want:?}"),
        "the config belongs to other weights, or the file is damaged",
    ))
}
