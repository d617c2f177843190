//! One array of a file: its header, where its values are, and how they are decoded.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use safetensors::Dtype;

use super::npy;
use super::strided::Strided;

/// One array: its header, and where its values are.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The type of the numbers, one that [`width`] knows.
    pub dtype: Dtype,
    /// The dimensions, none of them 0.
    pub shape: Vec<usize>,
    pub(super) values: Values,
    /// The order of the values, if it is not C order.
    pub(super) strided: Option<Strided>,
}

/// Where the values of an array are.
#[derive(Debug)]
pub(super) enum Values {
    /// This range of bytes of a file.
    Inside(Arc<Path>, Range<usize>),
    /// A member of the archive, by index, after a header of so many bytes.
    Member(usize, usize),
}

impl Entry {
    /// An `.npy` array with this header.
    pub(super) fn of_npy(header: npy::Header, values: Values) -> Self {
        let strided = header.fortran.then(|| Strided::first_axis_innermost(&header.shape));
        Self { dtype: header.dtype, shape: header.shape, values, strided }
    }

    /// Decodes `bytes` from [`Arrays::values`] as integers; `None` if the array has floats.
    pub(crate) fn integers(&self, bytes: &[u8]) -> Option<Vec<i64>> {
        Some(match self.dtype {
            Dtype::I64 => bytes.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b)).collect(),
            Dtype::I32 => bytes.as_chunks().0.iter().map(|&b| i32::from_le_bytes(b).into()).collect(),
            Dtype::U32 => bytes.as_chunks().0.iter().map(|&b| u32::from_le_bytes(b).into()).collect(),
            Dtype::U8 | Dtype::BOOL => bytes.iter().map(|&b| b.into()).collect(),
            _ => return None,
        })
    }

    /// Decodes `bytes` as float64 or float32 numbers, widened to f64; `None` for other types.
    pub(crate) fn floats(&self, bytes: &[u8]) -> Option<Vec<f64>> {
        Some(match self.dtype {
            Dtype::F64 => bytes.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b)).collect(),
            Dtype::F32 => bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b).into()).collect(),
            _ => return None,
        })
    }
}

/// The size of one number in bytes; `None` for unsupported types.
pub(super) fn width(dtype: Dtype) -> Option<usize> {
    match dtype {
        Dtype::F64 | Dtype::I64 => Some(8),
        Dtype::F32 | Dtype::I32 | Dtype::U32 => Some(4),
        Dtype::F16 | Dtype::BF16 => Some(2),
        Dtype::U8 | Dtype::BOOL => Some(1),
        _ => None,
    }
}
