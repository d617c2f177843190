//! The nodes between the port's known tensors and a site.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::{self, Graph, NodeId};
use crate::oracle::{Given, Placed};

/// The tensors that the port continued with.
pub trait PortTensors {
    /// Whether this node is computed here from its inputs instead of taken from the port.
    fn computes(&self, id: NodeId) -> bool;

    /// The known rows that the port continued with at a node. For keys and values, padding rows are the
    /// port's own.
    fn at(&self, id: NodeId) -> Option<Placed>;
}

/// The nodes between the given tensors and a site.
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

    /// The inputs of the cut; `None` if one of its tensors is unknown.
    pub fn given(&self, tensors: &dyn PortTensors) -> Option<Given> {
        let values = self.read.iter().map(|&id| Some((id, tensors.at(id)?))).collect::<Option<_>>()?;
        Some(Given { values, cached: BTreeMap::new() })
    }
}
