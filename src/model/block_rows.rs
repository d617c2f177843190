//! A matrix in quantised blocks whose rows are divided among the threads.
//!
//! Candle has its own thread pool for such products, whose threads wait in a busy loop: if another process
//! runs on the machine, a product takes ten times as long. The program limits that pool to one thread and
//! divides the rows of a matrix instead. Each output depends on one row only, so the division does not change
//! any result.

use std::borrow::Cow;
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{D, Device, Module, Tensor};
use rayon::prelude::*;

use crate::Result;

/// The number of rows in the groups into which Candle packs the rows of some types.
const GROUP: usize = 16;

/// A matrix with fewer entries is not divided, because dispatching a part would cost more than its product.
const SMALL: usize = 1 << 16;

/// A matrix `[out, in]` in quantised blocks.
#[derive(Clone, Debug)]
pub struct BlockRows {
    /// The parts of the matrix: consecutive rows, `[rows, in]` each.
    parts: Vec<Arc<QTensor>>,
}

impl BlockRows {
    /// Divides the rows of `weight`, `[out, in]`, among the threads of the current pool.
    ///
    /// # Errors
    /// None in practice: parts of a tensor are tensors.
    pub fn new(weight: Arc<QTensor>) -> Result<Self> {
        Self::divided(weight, rayon::current_num_threads())
    }

    fn divided(weight: Arc<QTensor>, threads: usize) -> Result<Self> {
        let (out, width) = weight.shape().dims2()?;
        // A part of a group would be multiplied in another way than the whole group.
        let whole = out % GROUP != 0 || out * width < SMALL || threads < 2 || !weight.device().is_cpu();
        if whole {
            return Ok(Self { parts: vec![weight] });
        }
        let rows = out.div_ceil(threads).next_multiple_of(GROUP);
        let (dtype, data) = (weight.dtype(), weight.data()?);
        let row_bytes = data.len() / out;
        let part = |start: usize| -> Result<Arc<QTensor>> {
            let end = out.min(start + rows);
            let bytes = Cow::Borrowed(&data[start * row_bytes..end * row_bytes]);
            let storage = QStorage::from_data(bytes, &Device::Cpu, dtype)?;
            Ok(Arc::new(QTensor::new(storage, (end - start, width))?))
        };
        let parts = (0..out).step_by(rows).map(part).collect::<Result<_>>()?;
        Ok(Self { parts })
    }

    /// The numbers of outputs and inputs.
    pub fn shape(&self) -> (usize, usize) {
        let out = self.parts.iter().map(|part| part.shape().dims()[0]).sum();
        (out, self.parts.first().map_or(0, |part| part.shape().dims()[1]))
    }

    /// The type of its blocks.
    pub fn dtype(&self) -> GgmlDType {
        self.parts.first().map_or(GgmlDType::F32, |part| part.dtype())
    }

    /// The device that stores it.
    pub fn device(&self) -> Device {
        self.parts.first().map_or(Device::Cpu, |part| part.device())
    }

    /// The matrix as floats, `[out, in]`.
    ///
    /// # Errors
    /// The device cannot dequantise blocks.
    pub fn widened(&self) -> Result<Tensor> {
        let parts = self.parts.iter().map(|part| part.dequantize(&part.device()));
        Ok(Tensor::cat(&parts.collect::<candle_core::Result<Vec<_>>>()?, 0)?)
    }
}

impl Module for BlockRows {
    /// x Wᵀ, `[.., in]` → `[.., out]`.
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let product = |part: &Arc<QTensor>| QMatMul::QTensor(part.clone()).forward(x);
        match &self.parts[..] {
            [whole] => product(whole),
            parts => {
                let products = parts.par_iter().map(product).collect::<candle_core::Result<Vec<_>>>()?;
                Tensor::cat(&products, D::Minus1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;
    use rstest::rstest;

    use super::*;

    #[rstest]
    fn divided_rows_give_the_same_bits(
        #[values(GgmlDType::Q8_0, GgmlDType::Q4_0, GgmlDType::Q4_1, GgmlDType::Q4K, GgmlDType::Q6K)]
        dtype: GgmlDType,
        #[values(1, 3, 40)] tokens: usize,
        #[values(2, 3)] threads: usize,
    ) {
        let weight = Tensor::randn(0f32, 1f32, (272, 512), &Device::Cpu).unwrap();
        let weight = Arc::new(QTensor::quantize(&weight, dtype).unwrap());
        let x = Tensor::randn(0f32, 1f32, (1, tokens, 512), &Device::Cpu).unwrap();
        let of = |threads| {
            let layer = BlockRows::divided(weight.clone(), threads).unwrap();
            let y = layer.forward(&x).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            (layer.parts.len(), y, layer.widened().unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap())
        };
        let ((one, whole, matrix), (parts, divided, same_matrix)) = (of(1), of(threads));
        assert_eq!((one, parts), (1, threads));
        assert!(whole == divided && matrix == same_matrix);
    }

    #[rstest]
    #[case::rows_that_do_not_fill_the_last_group((250, 512))]
    #[case::few_entries((32, 256))]
    fn some_matrices_are_not_divided(#[case] shape: (usize, usize)) {
        let weight = Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap();
        let weight = Arc::new(QTensor::quantize(&weight, GgmlDType::Q8_0).unwrap());
        assert_eq!(BlockRows::divided(weight, 4).unwrap().parts.len(), 1);
    }
}
