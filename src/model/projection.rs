//! Matrix products with weights, built on `candle_nn::Linear` for floats, on our own [`Packed`] for blocks of 32 quantised
//! weights, and on `candle_core::quantized::QMatMul` for K types and on other devices.
//!
//! A kernel on quantised blocks rounds its activations to 8 bits, in blocks of 32 or of 256. That is another
//! arithmetic than the dense product, with its own reference. Ours always has 32. Candle's depends on the type, the
//! shape and the device, and is not reported, so we find it by a trial.

use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{DType, Device, Module, Tensor};
use candle_nn::Linear;

use super::block_rows::BlockRows;
use super::packed_rows;
use crate::Result;
use crate::blocks::Packed;

/// How matrix products are computed. Chosen at loading and never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Matmul {
    /// With weights as floats of the model's dtype.
    Dense,
    /// With the quantised blocks of the file. A matrix that the file stores as floats is multiplied as
    /// floats.
    Quantized,
}

impl Matmul {
    /// `dense`, `quantized`.
    pub const fn name(self) -> &'static str {
        match self {
            Matmul::Dense => "dense",
            Matmul::Quantized => "quantized",
        }
    }
}

/// A linear layer: x Wᵀ, plus a bias if the family has one.
#[derive(Clone, Debug)]
pub struct Projection {
    matrix: Matrix,
    /// The vector that is added to every product, `[out]`.
    pub bias: Option<Tensor>,
}

/// A weight, `[out, in]`.
#[derive(Clone, Debug)]
enum Matrix {
    /// Floats; this layer has no bias.
    Dense(Linear),
    /// Blocks of 32 quantised weights on the CPU.
    Packed(Arc<Packed>),
    /// Other quantised blocks, which Candle multiplies.
    Candle(BlockRows),
}

impl Projection {
    /// A layer without bias, with the floats of `weight`, `[out, in]`.
    pub fn dense(weight: Tensor) -> Self {
        Self { matrix: Matrix::Dense(Linear::new(weight, None)), bias: None }
    }

    /// A layer without bias, with the quantised blocks of `weight`, `[out, in]`.
    ///
    /// # Errors
    /// None in practice: parts of a tensor are tensors.
    pub fn blocks(weight: Arc<QTensor>) -> Result<Self> {
        let matrix = match Packed::of(&weight)? {
            Some(packed) => Matrix::Packed(packed.into()),
            None => Matrix::Candle(BlockRows::new(weight)?),
        };
        Ok(Self { matrix, bias: None })
    }

    /// The matrix, if it is stored in blocks that we multiply ourselves.
    pub(super) fn packed(&self) -> Option<&Arc<Packed>> {
        match &self.matrix {
            Matrix::Packed(packed) => Some(packed),
            Matrix::Dense(_) | Matrix::Candle(_) => None,
        }
    }

    /// The same layer with another weight, as floats, `[out, in]`.
    pub fn with_weight(&self, weight: Tensor) -> Self {
        Self { bias: self.bias.clone(), ..Self::dense(weight) }
    }

    /// The matrix, `[out, in]`, if it is stored as floats.
    pub fn floats(&self) -> Option<&Tensor> {
        match &self.matrix {
            Matrix::Dense(linear) => Some(linear.weight()),
            Matrix::Packed(_) | Matrix::Candle(_) => None,
        }
    }

    /// The matrix as floats, `[out, in]`; quantised blocks are dequantised.
    ///
    /// # Errors
    /// The device cannot dequantise blocks.
    pub fn widened(&self) -> Result<Tensor> {
        match &self.matrix {
            Matrix::Dense(linear) => Ok(linear.weight().clone()),
            Matrix::Packed(packed) => Ok(Tensor::from_vec(packed.rows(), packed.shape(), &Device::Cpu)?),
            Matrix::Candle(blocks) => blocks.widened(),
        }
    }

    /// Adds the bias, if there is one, to a product with this matrix, `[.., out]`.
    ///
    /// # Errors
    /// The product has another width.
    pub fn biased(&self, product: Tensor) -> Result<Tensor> {
        Ok(match &self.bias {
            None => product,
            Some(bias) => product.broadcast_add(bias)?,
        })
    }

    /// How many activations of `dtype` share a scale when this layer rounds them; `None` if it does not round
    /// them. Candle packs weights for f32 and bf16 but not for f16, so f16 may use another block size.
    ///
    /// # Errors
    /// The trial fails on the device.
    pub fn activation_block(&self, dtype: DType) -> Result<Option<usize>> {
        use GgmlDType::{Q2K, Q3K, Q4K, Q5K, Q6K, Q8_0, Q8K};
        let blocks = match &self.matrix {
            Matrix::Dense(_) => return Ok(None),
            Matrix::Packed(_) => return Ok(Some(32)),
            Matrix::Candle(blocks) => blocks,
        };
        let (outputs, inputs) = blocks.shape();
        Ok(Some(match blocks.dtype() {
            Q2K | Q3K | Q4K | Q5K | Q6K | Q8K => 256,
            Q8_0 if inputs % 256 == 0 && outputs % 16 == 0 => tried(&blocks.device(), dtype)?,
            _ => 32,
        }))
    }

    /// Whether it has Q8_0 blocks that Candle multiplies, whose kernels differ in how they round activations.
    pub fn is_candle_q8_0(&self) -> bool {
        matches!(&self.matrix, Matrix::Candle(blocks) if blocks.dtype() == GgmlDType::Q8_0)
    }
}

/// The block size that a small Q8_0 product uses on this device. The trial puts 1 and a value 1000 times
/// larger 255 entries apart: if the two share a scale, 1 is rounded to 0.
fn tried(device: &Device, dtype: DType) -> Result<usize> {
    const WIDTH: usize = 256;
    let mut last = vec![0f32; 16 * WIDTH];
    last.chunks_mut(WIDTH).for_each(|row| row[WIDTH - 1] = 1.0);
    let weight = Tensor::from_vec(last, (16, WIDTH), &Device::Cpu)?;
    let weight = QTensor::quantize_onto(&weight, GgmlDType::Q8_0, device)?;
    let mut x = vec![0f32; WIDTH];
    (x[0], x[WIDTH - 1]) = (1000.0, 1.0);
    let x = Tensor::from_vec(x, (1, WIDTH), device)?.to_dtype(dtype)?;
    let y = QMatMul::QTensor(Arc::new(weight)).forward(&x)?.flatten_all()?;
    let y = y.to_dtype(DType::F32)?.to_vec1::<f32>()?;
    Ok(if y[0] == 0.0 { WIDTH } else { 32 })
}

impl Module for Projection {
    /// `[.., in]` → `[.., out]`. The product is rounded to the dtype of x before the bias is added, as in
    /// PyTorch.
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let product = match &self.matrix {
            Matrix::Dense(linear) => linear.forward(x)?,
            Matrix::Packed(packed) => packed_rows::product(packed, x)?,
            Matrix::Candle(blocks) => blocks.forward(x)?,
        };
        match &self.bias {
            None => Ok(product),
            Some(bias) => product.broadcast_add(bias),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::small_rows(GgmlDType::Q8_0, 32, 64, Some(32))]
    #[case::rows_of_256(GgmlDType::Q8_0, 32, 256, Some(32))]
    #[case::odd_outputs(GgmlDType::Q8_0, 15, 256, Some(32))]
    #[case::four_bits(GgmlDType::Q4_0, 32, 256, Some(32))]
    #[case::k_type(GgmlDType::Q4K, 32, 256, Some(256))]
    fn the_activation_block_size_depends_on_type_and_shape(
        #[case] dtype: GgmlDType,
        #[case] outputs: usize,
        #[case] inputs: usize,
        #[case] block: Option<usize>,
    ) {
        let weight = Tensor::ones((outputs, inputs), DType::F32, &Device::Cpu).unwrap();
        let weight = QTensor::quantize(&weight, dtype).unwrap();
        assert_eq!(Projection::blocks(weight.into()).unwrap().activation_block(DType::F32).unwrap(), block);
    }
}
