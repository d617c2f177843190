//! Loads layers from named tensors and checks each shape against the config, so that a matrix of the wrong
//! shape is reported by name here and not by a later product.

use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};

use super::embedding::Embedding;
use super::projection::{Matmul, Projection};
use crate::weights::{Config, Weights};
use crate::{Error, Result};

/// The source of tensors, and how to load them.
#[derive(Clone, Copy)]
pub struct Loader<'a> {
    /// The model's file.
    pub weights: &'a Weights,
    /// The device that they are loaded to.
    pub device: &'a Device,
    /// The dtype that they are rounded to.
    pub dtype: DType,
    /// Whether matrices are loaded as floats or as quantised blocks.
    pub matmul: Matmul,
}

impl Loader<'_> {
    /// The tensor `name`, which must have this shape.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let tensor = self.weights.tensor(name, self.dtype, self.device)?;
        promised(name, tensor.dims(), shape)?;
        Ok(tensor)
    }

    /// A linear layer without bias, with the weight `[out, in]` as stored; the product transposes it.
    pub fn linear(&self, name: &str, outputs: usize, inputs: usize) -> Result<Projection> {
        let shape = [outputs, inputs];
        match self.blocks(name)? {
            None => Ok(Projection::dense(self.tensor(name, &shape)?)),
            Some(blocks) => {
                promised(name, blocks.shape().dims(), &shape)?;
                Projection::blocks(blocks)
            }
        }
    }

    /// The layer `module` below `prefix`, with a bias if the config has one there.
    pub fn projection(
        &self,
        prefix: &str,
        module: &str,
        (outputs, inputs): (usize, usize),
        config: &Config,
    ) -> Result<Projection> {
        let mut projection = self.linear(&format!("{prefix}.{module}.weight"), outputs, inputs)?;
        if config.biases.contains(module) {
            projection.bias = Some(self.tensor(&format!("{prefix}.{module}.bias"), &[outputs])?);
        }
        Ok(projection)
    }

    /// The embedding, `[vocab, hidden]`, and an output layer with the same matrix if `tied`. The two share it, in
    /// quantised blocks if both can use them.
    pub fn embedding(
        &self,
        name: &str,
        shape: [usize; 2],
        tied: bool,
    ) -> Result<(Embedding, Option<Projection>)> {
        let head = tied.then(|| self.linear(name, shape[0], shape[1])).transpose()?;
        let packed = head.as_ref().and_then(Projection::packed).cloned();
        let embedding = match (packed, head.as_ref().and_then(Projection::floats)) {
            (Some(packed), _) => Embedding::blocks(packed, self.dtype),
            (None, Some(floats)) => Embedding::floats(floats.clone())?,
            (None, None) => Embedding::floats(self.tensor(name, &shape)?)?,
        };
        Ok((embedding, head))
    }

    /// The matrix in its quantised blocks, if it has them and the path uses them.
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
        format!("{name} has the shape {got:?}, but its config says {want:?}"),
        "check that the config belongs to these weights, and that the file is not damaged",
    ))
}
