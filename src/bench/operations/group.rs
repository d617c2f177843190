//! What the groups of operations have in common.

use candle_core::{DType, Device};

use super::super::case::Case;
use super::super::speed::Race;

/// Half precision and float32, which models compute in.
pub(super) const MODEL_DTYPES: [DType; 3] = [DType::F32, DType::BF16, DType::F16];

/// A group of operations.
pub struct Group {
    /// The names of its operations.
    pub operations: &'static [&'static str],
    /// Its cases.
    pub cases: fn() -> Vec<Case>,
    /// Its races on a device.
    pub races: fn(&Device) -> candle_core::Result<Vec<Race>>,
}

/// `[3, 4097]` as `3x4097`.
pub(super) fn size(dims: &[usize]) -> String {
    dims.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}
