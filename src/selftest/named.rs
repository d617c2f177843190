//! What the judge took a planted mistake for: the seam to its diagnosis.

use crate::judge::Outcome;
use crate::plants::Plant;

/// What the judge took a mistake for.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    /// The place of the planted mistake among the suspects, from 1.
    pub rank: usize,
    /// How far the tensor is from what it would be under that mistake, relative to its scale.
    pub residual: f64,
    /// The next best suspect and its residual.
    pub runner_up: Option<(String, f64)>,
}

/// The seam to the judge's diagnosis: none is made yet, so nothing is named.
pub(super) fn name(_: &Plant, _: &[Outcome]) -> Option<Named> {
    None
}
