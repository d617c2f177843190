//! The operations that a model uses or could use, one file per group. Each file holds the operations' exact results
//! in plain float64 code, their cases, and other ways to compute the same, which are timed.

mod activations;
mod attention;
mod blocks;
mod caches;
mod lookups;
mod moves;
mod norms;
mod products;
mod rotations;
mod softmaxes;
mod sums;

use candle_core::{DType, Device};

use super::case::Case;
use super::speed::Race;

/// Half precision and float32, which models compute in.
const MODEL_DTYPES: [DType; 3] = [DType::F32, DType::BF16, DType::F16];

/// A group of operations.
pub struct Group {
    /// The names of its operations.
    pub operations: &'static [&'static str],
    /// Its cases.
    pub cases: fn() -> Vec<Case>,
    /// Its races on a device.
    pub races: fn(&Device) -> candle_core::Result<Vec<Race>>,
}

/// All operations.
pub const GROUPS: [Group; 11] = [
    rotations::GROUP,
    norms::GROUP,
    softmaxes::GROUP,
    activations::GROUP,
    products::GROUP,
    blocks::GROUP,
    attention::GROUP,
    caches::GROUP,
    lookups::GROUP,
    sums::GROUP,
    moves::GROUP,
];

/// The names of all operations.
pub fn names() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().flat_map(|group| group.operations).copied()
}

/// The cases of the operations that `wanted` accepts.
pub fn cases(wanted: impl Fn(&str) -> bool) -> Vec<Case> {
    let groups = GROUPS.iter().filter(|group| group.operations.iter().any(|name| wanted(name)));
    groups.flat_map(|group| (group.cases)()).filter(|case| wanted(case.operation)).collect()
}

/// The races of the operations that `wanted` accepts.
///
/// # Errors
/// The device cannot hold their inputs.
pub fn races(wanted: impl Fn(&str) -> bool, device: &Device) -> candle_core::Result<Vec<Race>> {
    let groups = GROUPS.iter().filter(|group| group.operations.iter().any(|name| wanted(name)));
    let races = groups.map(|group| (group.races)(device)).collect::<candle_core::Result<Vec<_>>>()?;
    Ok(races.into_iter().flatten().filter(|race| wanted(race.operation)).collect())
}

/// `[3, 4097]` as `3x4097`.
fn size(dims: &[usize]) -> String {
    dims.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}
