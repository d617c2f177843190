//! The nodes between what a port went on with and a site.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::{self, Edge, Graph, NodeId};
use crate::oracle::{Given, Place, Placed};

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
    /// Those of which every row is needed, because attention looks at them.
    seen: BTreeSet<NodeId>,
}

impl Cut {
    pub fn new(graph: &Graph, id: NodeId, computed: &BTreeSet<NodeId>) -> Self {
        let given = graph.ids().filter(|id| !computed.contains(id)).collect();
        let graph::Cut { compute: nodes, read } = graph.cut(&BTreeSet::from([id]), &given);
        let mut seen = BTreeSet::new();
        for &id in nodes.iter().rev() {
            for input in graph.node(id).into_iter().flat_map(|node| &node.inputs) {
                if input.edge == Edge::AllKeys || seen.contains(&id) {
                    seen.insert(input.node);
                }
            }
        }
        Self { nodes, read, seen }
    }

    /// What it is computed from: only the judged rows of what attention does not look at.
    pub fn given(&self, places: &[Place], around: &dyn Around) -> Option<Given> {
        let mut values = BTreeMap::new();
        for &id in &self.read {
            let placed = around.at(id)?;
            let placed = if self.seen.contains(&id) { placed } else { placed.kept(places)? };
            values.insert(id, placed);
        }
        Some(Given { values, cached: BTreeMap::new() })
    }
}
