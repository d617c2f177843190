//! Finds weights that are NaN or infinite.

use candle_core::{DType, Device};

use super::Weights;
use crate::Result;

/// A number in a tensor that is NaN or infinite.
#[derive(Clone, Debug, PartialEq)]
pub struct NotFinite {
    /// The tensor's name.
    pub name: String,
    /// Where the number is, in the tensor as stored.
    pub index: Vec<usize>,
    /// The number.
    pub value: f32,
}

impl Weights {
    /// The first of the model's tensors that contains NaN or an infinity, if there is one. Reads all of them.
    ///
    /// # Errors
    /// As [`Weights::tensor`].
    pub fn not_finite(&self) -> Result<Option<NotFinite>> {
        for name in self.names() {
            let tensor = self.tensor(&name, DType::F32, &Device::Cpu)?;
            // A sum is finite only if each of its values is. It needs no copy of a matrix that may have gigabytes.
            if tensor.sum_all()?.to_scalar::<f32>()?.is_finite() {
                continue;
            }
            let values = tensor.flatten_all()?.to_vec1::<f32>()?;
            if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                let index = tensor.dims().iter().rev().scan(at, |rest, &size| {
                    let index = *rest % size;
                    *rest /= size;
                    Some(index)
                });
                let mut index: Vec<usize> = index.collect();
                index.reverse();
                return Ok(Some(NotFinite { name, index, value: values[at] }));
            }
        }
        Ok(None)
    }
}
