//! Writes `dump.npz`: the ids of a pass and its tensors at a few sites, in the format of
//! `docs/dump-format.md`.

use std::io;

use candle_core::{DType, Device, Tensor};
use serde_json::Value;

use crate::Result;
use crate::arrays::Npz;
use crate::model::Input;
use crate::probe::Layout;

/// The tensor at a site, or its cached rows.
pub(super) struct AtSite {
    pub name: String,
    pub shape: Vec<usize>,
    /// In row-major order, with the last axis in the reference's order.
    pub values: Vec<f64>,
    /// Float64 is stored as float64; every other type as float32, which represents all its values exactly.
    pub dtype: DType,
}

impl AtSite {
    /// The values of `tensor`, whose last axis has this layout.
    pub(super) fn new(name: String, tensor: &Tensor, layout: &Layout) -> Result<Self> {
        let width = tensor.dims().last().copied().unwrap_or(1).max(1);
        let values: Vec<f64> =
            tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
        let values = match layout.columns(width) {
            None => values,
            Some(columns) => {
                values.chunks_exact(width).flat_map(|row| columns.iter().map(|&j| row[j])).collect()
            }
        };
        Ok(Self { name, shape: tensor.dims().to_vec(), values, dtype: tensor.dtype() })
    }
}

/// The recording as an npz file, with `about` as its metadata. `real` is the mask of the tokens, also of cached ones.
///
/// # Errors
/// The arrays exceed what a zip archive can hold.
pub(super) fn file(
    input: &Input,
    real: &[Vec<bool>],
    about: &Value,
    tensors: &[AtSite],
) -> io::Result<Vec<u8>> {
    let shape = [input.batch(), input.len()];
    let mut zip = Npz::new();
    zip.array("input_ids", &shape, input.ids.iter().flatten().map(|&id| i64::from(id)))?;
    zip.array("position_ids", &shape, input.positions.iter().flatten().map(|&p| p as i64))?;
    let slots = [real.len(), real.first().map_or(0, Vec::len)];
    zip.array("attention_mask", &slots, real.iter().flatten().map(|&real| i64::from(real)))?;
    for AtSite { name, shape, values, dtype } in tensors {
        let values = values.iter().copied();
        match dtype {
            DType::F64 => zip.array(name, shape, values)?,
            _ => zip.array(name, shape, values.map(|value| value as f32))?,
        }
    }
    zip.file("metadata.json", about.to_string().as_bytes())?;
    zip.finish()
}
