//! A matrix in quantised blocks that Candle multiplies: K types, and any type on another device. On the CPU its rows are
//! divided among the threads.
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

/// A matrix `[out, in]` in quantised blocks: consecutive rows of it, `[rows, in]` each.
#[derive(Clone, Debug)]
pub struct BlockRows(Vec<Arc<QTensor>>);

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
        // Rows that do not fill a group would be multiplied in another way than the group.
        let whole = !weight.device().is_cpu() || out * width < SMALL || out % GROUP != 0;
        Ok(Self(parts(&weight, grouped(out, if whole { 1 } else { threads }))?))
    }

    /// Outputs and inputs.
    pub fn shape(&self) -> (usize, usize) {
        let out = self.0.iter().map(|part| part.shape().dims()[0]).sum();
        (out, self.0.first().map_or(0, |part| part.shape().dims()[1]))
    }

    /// The type of its blocks.
    pub fn dtype(&self) -> GgmlDType {
        self.0.first().map_or(GgmlDType::F32, |part| part.dtype())
    }

    /// Where it is stored.
    pub fn device(&self) -> Device {
        self.0.first().map_or(Device::Cpu, |part| part.device())
    }

    /// The matrix as floats, `[out, in]`.
    ///
    /// # Errors
    /// The device cannot dequantise blocks.
    pub fn widened(&self) -> Result<Tensor> {
        let parts = self.0.iter().map(|part| part.dequantize(&part.device()));
        Ok(Tensor::cat(&parts.collect::<candle_core::Result<Vec<_>>>()?, 0)?)
    }
}

impl Module for BlockRows {
    /// x Wᵀ, `[.., in]` → `[.., out]`.
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let of_part = |part: &Arc<QTensor>| QMatMul::QTensor(part.clone()).forward(x);
        match &self.0[..] {
            [whole] => of_part(whole),
            parts => {
                let products = parts.par_iter().map(of_part).collect::<candle_core::Result<Vec<_>>>()?;
                Tensor::cat(&products, D::Minus1)
            }
        }
    }
}

/// The numbers of rows of each part, all of them whole groups.
fn grouped(out: usize, threads: usize) -> Vec<usize> {
    let most = out.div_ceil(threads).next_multiple_of(GROUP);
    (0..out).step_by(most).map(|start| most.min(out - start)).collect()
}

/// Consecutive parts of `weight` with these numbers of rows.
fn parts(weight: &Arc<QTensor>, rows: Vec<usize>) -> Result<Vec<Arc<QTensor>>> {
    if rows.len() == 1 {
        return Ok(vec![weight.clone()]);
    }
    let (out, width) = weight.shape().dims2()?;
    let (dtype, data) = (weight.dtype(), weight.data()?);
    let row_bytes = data.len() / out;
    let mut start = 0;
    let part = |rows: usize| -> Result<Arc<QTensor>> {
        let bytes = Cow::Borrowed(&data[start * row_bytes..(start + rows) * row_bytes]);
        start += rows;
        let storage = QStorage::from_data(bytes, &Device::Cpu, dtype)?;
        Ok(Arc::new(QTensor::new(storage, (rows, width))?))
    };
    rows.into_iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use candle_core::DType;
    use rstest::rstest;

    use super::*;

    #[rstest]
    fn divided_rows_give_the_same_bits(
        #[values(GgmlDType::Q2K, GgmlDType::Q4K, GgmlDType::Q6K)] dtype: GgmlDType,
        #[values(1, 3, 40)] tokens: usize,
        #[values(2, 3)] threads: usize,
    ) {
        let weight = Tensor::randn(0f32, 1f32, (272, 512), &Device::Cpu).unwrap();
        let weight = Arc::new(QTensor::quantize(&weight, dtype).unwrap());
        let x = Tensor::randn(0f32, 1f32, (1, tokens, 512), &Device::Cpu).unwrap();
        let of = |threads| {
            let layer = BlockRows::divided(weight.clone(), threads).unwrap();
            let y = layer.forward(&x).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            (layer.0.len(), y, layer.widened().unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap())
        };
        let ((one, whole, matrix), (parts, divided, same_matrix)) = (of(1), of(threads));
        assert!(one == 1 && parts == threads);
        assert!(whole == divided && matrix == same_matrix);
    }

    #[rstest]
    #[case::rows_that_do_not_fill_the_last_group((250, 512))]
    #[case::few_entries((32, 256))]
    fn some_matrices_are_not_divided(#[case] shape: (usize, usize)) {
        let weight = Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap();
        let weight = Arc::new(QTensor::quantize(&weight, GgmlDType::Q4K).unwrap());
        assert_eq!(BlockRows::divided(weight, 4).unwrap().0.len(), 1);
    }
}
