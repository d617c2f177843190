//! The nodes between what a port went on with and a site.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::{self, Graph, NodeId};
use crate::oracle::{Given, Placed};

/// What the port went on with.
pub trait Around {
    /// Is this node computed here from what is before it, and not taken from the port?
    fn computes(&self, id: NodeId) -> bool;

    /// The rows that the port went on with at a node, as far as they are known. Of keys and values, those of padding
    /// are the port's own.
    fn at(&self, id: NodeId) -> Option<Placed>;
}

/// The nodes between what is given and a site.
pub(super) struct Cut {
    pub nodes: Vec<NodeId>,
    pub read: BTreeSet<NodeId>,
}

impl Cut {
    pub fn new(graph: &Graph, id: NodeId, computed: &BTreeSet<NodeId>) -> Self {
        let given = graph.ids().filter(|id| !computed.contains(id)).collect();
        let graph::Cut { compute: nodes, read } = graph.cut(&BTreeSet::from([id]), &given);
        Self { nodes, read }
    }

    /// What it is computed from; none where a tensor of it is not known.
    pub fn given(&self, around: &dyn Around) -> Option<Given> {
        let values = self.read.iter().map(|&id| Some((id, around.at(id)?))).collect::<Option<_>>()?;
        Some(Given { values, cached: BTreeMap::new() })
    }
}
