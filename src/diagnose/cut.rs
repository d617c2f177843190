//! The nodes between the port's known tensors and a site.

use std::collections::BTreeSet;

use crate::graph::{self, Graph, NodeId};
use crate::oracle::{Given, Placed};

/// The tensors that the port continued with.
pub trait PortTensors {
    /// Whether this node is computed here from its inputs instead of taken from the port.
    fn computes(&self, id: NodeId) -> bool;

    /// The known rows that the port continued with at a node. For keys and values, padding rows are the
    /// port's own.
    fn at(&self, id: NodeId) -> Option<Placed>;

    /// The rows of keys or values at the slots of earlier passes, if the pass has such slots. They are among those
    /// of [`PortTensors::at`].
    fn cached(&self, _: NodeId) -> Option<Placed> {
        None
    }
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
        let computed = self.nodes.iter().filter_map(|&id| Some((id, tensors.cached(id)?)));
        Some(Given { values, cached: computed.collect() })
    }
}
