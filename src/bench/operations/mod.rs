//! The operations that a model uses or could use, one file per group. Each file holds the operations' exact results
//! in plain float64 code, their cases, and other ways to compute the same, which are timed.

mod activations;
mod attention;
mod blocks;
mod caches;
mod group;
mod lookups;
mod moves;
mod norms;
mod products;
mod rotations;
mod softmaxes;
mod sums;

use super::case::Case;

pub use group::Group;

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
