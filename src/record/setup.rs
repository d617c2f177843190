//! What all computations of a case share.

use std::collections::BTreeMap;

use candle_core::DType;

use crate::graph::{Graph, NodeId};
use crate::oracle::Pass;
use crate::probe::Site;
use crate::reference::Feed;
use crate::weights::Weights;

/// What all computations of a case share.
pub(super) struct Setup<'a> {
    pub weights: &'a Weights,
    pub graph: &'a Graph,
    pub pass: &'a Pass,
    /// The nodes that are computed, and their sites.
    pub wanted: &'a BTreeMap<NodeId, Site>,
    pub dtypes: &'a [DType],
    pub feeds: &'a [Feed],
}
