//! A recorded tensor that does not follow from its inputs.

use super::theory::NoiseByPlace;
use crate::graph::NodeId;
use crate::recording::Held;

/// A site that failed, until the layer is whole and it can be looked into.
pub(super) struct Red {
    pub id: NodeId,
    pub held: Held,
    /// What honest arithmetic errs by at each of its rows.
    pub noise: NoiseByPlace,
    /// Where its finding is.
    pub place: usize,
}
