//! Which nodes to compute so that some sites follow from others.

use std::collections::BTreeSet;

use super::node::NodeId;
use super::nodes::Graph;

/// The part of a graph between what is given and what is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The nodes to compute, in the order of the pass. Those that are wanted are among them, given or not.
    pub compute: Vec<NodeId>,
    /// The given nodes that are read.
    pub read: BTreeSet<NodeId>,
}

impl Graph {
    /// The cut that computes each node of `wanted` at least, reading a node of `given` instead of computing it
    /// wherever it is an input. Nodes of other graphs are left out.
    pub fn cut(&self, wanted: &BTreeSet<NodeId>, given: &BTreeSet<NodeId>) -> Cut {
        let mut needed: BTreeSet<NodeId> = wanted.clone();
        let mut read = BTreeSet::new();
        let mut compute: Vec<NodeId> = Vec::new();
        // Backwards: a node's readers all come after it, so they have been seen before it is.
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
