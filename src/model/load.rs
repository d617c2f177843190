//! Named tensors → layers, each of the shape that the config promises: a matrix of the wrong shape
//! is an error that names it, here rather than in some later product.

use candle_core::{DType, Device, Tensor};
use candle_nn::Linear;

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
}

impl Loader<'_> {
    /// The tensor `name`, which must have this shape.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let tensor = self.weights.tensor(name, self.dtype, self.device)?;
        if tensor.dims() != shape {
            return Err(Error::input(
                format!("{name} is {:?}, its config says {shape:?}", tensor.dims()),
                "the config belongs to other weights, or the file is damaged",
            ));
        }
        Ok(tensor)
    }

    /// A linear layer without bias: `[out, in]` as stored, transposed by the product itself.
    pub fn linear(&self, name: &str, outputs: usize, inputs: usize) -> Result<Linear> {
        Ok(Linear::new(self.tensor(name, &[outputs, inputs])?, None))
    }
}
