//! Tensors in and out of our own products with quantised blocks.

use candle_core::{CpuStorage, DType, Device, Result, Storage, Tensor};

use crate::blocks::Packed;

/// x Wᵀ in float32, rounded to the dtype of x: `[.., in]` → `[.., out]`.
pub fn product(packed: &Packed, x: &Tensor) -> Result<Tensor> {
    let (out, width) = packed.shape();
    let mut dims = x.dims().to_vec();
    if dims.pop() != Some(width) {
        candle_core::bail!("a matrix of {out} rows of {width} cannot multiply {:?}", x.dims());
    }
    dims.push(out);
    let wide = x.to_dtype(DType::F32)?.contiguous()?;
    let (storage, layout) = wide.storage_and_layout();
    let Storage::Cpu(CpuStorage::F32(values)) = &*storage else {
        candle_core::bail!("the input is not on the CPU");
    };
    let values = &values[layout.start_offset()..][..wide.elem_count()];
    Tensor::from_vec(packed.product(values), dims, &Device::Cpu)?.to_dtype(x.dtype())
}
