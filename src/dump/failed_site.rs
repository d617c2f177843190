//! A recorded tensor that is wrong given its recorded inputs.

use super::measured_noise::NoiseByPlace;
use crate::graph::NodeId;
use crate::recording::SiteTensor;

/// A site that failed replay. It is diagnosed after the whole layer has been replayed.
pub(super) struct FailedSite {
    pub id: NodeId,
    pub recorded: SiteTensor,
    /// The rounding error of a correct port at each row.
    pub noise: NoiseByPlace,
    /// The index of its finding.
    pub place: usize,
}
