//! Quantised blocks for which Candle has no fast product on x86, rewritten as blocks of 8 bits, for which it has one.
//!
//! A weight of a Q5_0 block is `(level − 16) · d`, which 8 bits hold as it is. Weights of Q4_1 and Q5_1 blocks have a
//! minimum instead, `level · d + m`. Less the middle level `c` they are blocks of 8 bits with the same scale:
//!
//! ```text
//! w x = Σ (level − c) d x  +  Σ per block (c d · sum + m · sum16)
//! ```
//!
//! `sum` is the sum of the block's rounded activations, and `sum16` the same as ggml's kernels round it for the
//! minimum. Both are the numbers that Candle's own product of these types uses; only the order of the sums differs.

use std::borrow::Cow;

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{DType, Device, Tensor};
use half::f16;

use crate::Result;

/// Weights of a block.
const BLOCK: usize = 32;

/// A matrix whose levels are stored in 8 bits.
#[derive(Debug)]
pub(super) struct EightBits {
    /// `(level − c) · d`, `[out, in]` in Q8_0 blocks.
    pub levels: QTensor,
    /// c · d of each block, then m of each block, `[out, 2 * blocks]` in float32; `None` without minima.
    pub offsets: Option<Tensor>,
}

/// How a block type stores its weights.
struct Packing {
    /// Bytes of a block.
    bytes: usize,
    /// Is there a minimum after the scale?
    minimum: bool,
    /// Are the fifth bits stored, before the others?
    fifth: bool,
}

impl Packing {
    const fn of(dtype: GgmlDType) -> Option<Self> {
        Some(match dtype {
            GgmlDType::Q4_1 => Self { bytes: 20, minimum: true, fifth: false },
            GgmlDType::Q5_0 => Self { bytes: 22, minimum: false, fifth: true },
            GgmlDType::Q5_1 => Self { bytes: 24, minimum: true, fifth: true },
            _ => return None,
        })
    }

    /// The middle level.
    const fn middle(&self) -> i8 {
        if self.fifth { 16 } else { 8 }
    }

    /// Scale, minimum and levels of a block.
    fn read(&self, block: &[u8]) -> (f16, f16, [u8; BLOCK]) {
        let half = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]);
        let minimum = if self.minimum { half(2) } else { f16::ZERO };
        let fifth_at = if self.minimum { 4 } else { 2 };
        let (fifth, low) = match block[fifth_at..].split_first_chunk() {
            Some((&bits, low)) if self.fifth => (u32::from_le_bytes(bits), low),
            _ => (0, &block[fifth_at..]),
        };
        let level = |j: usize| {
            let four = if j < BLOCK / 2 { low[j] & 15 } else { low[j - BLOCK / 2] >> 4 };
            four | ((fifth >> j & 1) << 4) as u8
        };
        (half(0), minimum, std::array::from_fn(level))
    }
}

impl EightBits {
    /// Rewrites `weight`, `[out, in]` on the CPU; `None` if Candle has a fast product for its blocks.
    ///
    /// # Errors
    /// None in practice.
    pub fn of(weight: &QTensor) -> Result<Option<Self>> {
        let Some(packing) = Packing::of(weight.dtype()) else { return Ok(None) };
        let (out, width) = weight.shape().dims2()?;
        let blocks = width / BLOCK;
        let data = weight.data()?;
        let mut levels: Vec<u8> = Vec::with_capacity(out * blocks * (BLOCK + 2)); // Q8_0: scale, then 32 levels
        let mut offsets = vec![0f32; out * 2 * blocks];
        for (n, block) in data.chunks_exact(packing.bytes).enumerate() {
            let (scale, minimum, of_block) = packing.read(block);
            levels.extend(scale.to_le_bytes());
            levels.extend(of_block.map(|level| (level as i8 - packing.middle()) as u8));
            let at = n / blocks * 2 * blocks + n % blocks;
            offsets[at] = f32::from(packing.middle()) * scale.to_f32();
            offsets[at + blocks] = minimum.to_f32();
        }
        let storage = QStorage::from_data(Cow::Owned(levels), &Device::Cpu, GgmlDType::Q8_0)?;
        let offsets = Tensor::from_vec(offsets, (out, 2 * blocks), &Device::Cpu)?;
        let offsets = packing.minimum.then_some(offsets);
        Ok(Some(Self { levels: QTensor::new(storage, (out, width))?, offsets }))
    }

    /// The part of the product that a block's sum alone decides, `[.., in]` → `[.., out]`.
    pub fn of_sums(offsets: &Tensor, x: &Tensor) -> candle_core::Result<Tensor> {
        let mut dims = x.dims().to_vec();
        let width = dims.pop().unwrap_or_default();
        let values = x.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let rows = values.len() / width.max(1);
        let sums: Vec<f32> = values.chunks_exact(width).flat_map(sums).collect();
        let sums = Tensor::from_vec(sums, (rows, 2 * (width / BLOCK)), &Device::Cpu)?; // [rows, 2 * blocks]
        dims.push(offsets.dim(0)?);
        sums.matmul(&offsets.t()?)?.reshape(dims) // [.., out]
    }

    /// The matrix as floats, bit for bit as Candle dequantises the original, from these levels, `[out, in]`.
    ///
    /// # Errors
    /// None in practice.
    pub fn widened(levels: &Tensor, offsets: &Tensor) -> Result<Tensor> {
        let (out, width) = levels.dims2()?;
        let blocks = width / BLOCK;
        let per_block = |first: usize| offsets.narrow(1, first, blocks)?.reshape((out, blocks, 1));
        let levels = levels.reshape((out, blocks, BLOCK))?;
        let whole = levels.broadcast_add(&per_block(0)?)?.broadcast_add(&per_block(blocks)?)?;
        Ok(whole.reshape((out, width))?)
    }
}

/// The sum of each block of a row as ggml rounds its entries to 8 bits, then the same as it is rounded for minima.
fn sums(row: &[f32]) -> Vec<f32> {
    let of_block = |block: &[f32]| {
        let largest = block.iter().fold(0f32, |most, x| most.max(x.abs()));
        let scale = largest / 127.0;
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        let total: i32 = block.iter().map(|x| (x * inverse).round() as i32).sum();
        let kept = f16::from_f32(scale);
        (total as f32 * kept.to_f32(), (f16::from_f32(total as f32) * kept).to_f32())
    };
    let (exact, rounded): (Vec<f32>, Vec<f32>) = row.chunks_exact(BLOCK).map(of_block).unzip();
    [exact, rounded].concat()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use candle_core::Module;
    use candle_core::quantized::QMatMul;
    use rstest::rstest;

    use super::*;

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[rstest]
    fn the_product_and_the_matrix_are_those_of_the_original_blocks(
        #[values(GgmlDType::Q4_1, GgmlDType::Q5_0, GgmlDType::Q5_1)] dtype: GgmlDType,
    ) {
        let weight = (Tensor::randn(0f32, 1f32, (24, 256), &Device::Cpu).unwrap() + 0.5).unwrap();
        let weight = QTensor::quantize(&weight, dtype).unwrap();
        let EightBits { levels, offsets } = EightBits::of(&weight).unwrap().unwrap();
        let x = (Tensor::randn(0f32, 3f32, (5, 256), &Device::Cpu).unwrap() + 1.0).unwrap();

        let (mut floats, levels) = (levels.dequantize(&Device::Cpu).unwrap(), Arc::new(levels));
        let mut product = QMatMul::QTensor(levels).forward(&x).unwrap();
        if let Some(offsets) = offsets {
            floats = EightBits::widened(&floats, &offsets).unwrap();
            product = (product + EightBits::of_sums(&offsets, &x).unwrap()).unwrap();
        }
        assert_eq!(values(&floats), values(&weight.dequantize(&Device::Cpu).unwrap()));
        let original = QMatMul::QTensor(Arc::new(weight)).forward(&x).unwrap();
        for (a, b) in values(&product).into_iter().zip(values(&original)) {
            approx::assert_abs_diff_eq!(a, b, epsilon = 2e-3);
        }
    }

    #[test]
    fn blocks_with_a_fast_product_stay() {
        let weight = Tensor::ones((16, 256), DType::F32, &Device::Cpu).unwrap();
        let weight = QTensor::quantize(&weight, GgmlDType::Q4_0).unwrap();
        assert!(EightBits::of(&weight).unwrap().is_none());
    }
}
