//! Finds the nodes that must be computed to get some sites from others.

use std::collections::BTreeSet;

use super::node::NodeId;
use super::nodes::Graph;

/// The part of a graph between given and wanted nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The nodes to compute, in the order of the pass. They include all wanted nodes, even given ones.
    pub compute: Vec<NodeId>,
    /// The given nodes that are read.
    pub read: BTreeSet<NodeId>,
}

impl Graph {
    /// The cut that computes every node of `wanted`. Where a node of `given` is an input, it is read instead
    /// of computed. Nodes of other graphs are ignored.
    pub fn cut(&self, wanted: &BTreeSet<NodeId>, given: &BTreeSet<NodeId>) -> Cut {
        let mut needed: BTreeSet<NodeId> = wanted.clone();
        let mut read = BTreeSet::new();
        let mut compute: Vec<NodeId> = Vec::new();
        // In reverse order, all readers of a node are visited before the node itself.
        for (id, node) in self.iter().rev() {
            if !needed.contains(&id) {
                continue;
            }
            for input in &node.inputs {
                let found = if given.contains(&input.node) { &mut read } else { &mut needed };
                found.insert(input.node);
            }
            compute.push(id);
        }
        compute.reverse();
        Cut { compute, read }
    }
}
