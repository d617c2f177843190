//! The graph: the nodes of a model, in the order of its forward pass.

use std::collections::BTreeMap;

use super::check::fault;
use super::node::{Node, NodeId};
use super::role::Role;
use super::site::SiteName;
use crate::probe::Kinds;
use crate::{Error, Result};

/// The forward pass of a model. Every node comes after its inputs. No two nodes have the same site, or the
/// same layer and role.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    nodes: Vec<Node>,
    by_site: BTreeMap<SiteName, NodeId>,
}

impl Graph {
    /// Makes the graph of these nodes.
    ///
    /// # Errors
    /// The nodes are inconsistent: see [`Builder::finish`](super::Builder::finish).
    pub fn new(nodes: Vec<Node>) -> Result<Self> {
        if let Some((node, problem)) = fault(&nodes) {
            let hint = "check the model's config: it contradicts itself, or has no valid graph";
            return Err(Error::input(format!("{node}: {problem}"), hint));
        }
        let by_site = nodes.iter().enumerate().map(|(n, node)| (node.site.clone(), NodeId(n))).collect();
        Ok(Self { nodes, by_site })
    }

    /// The same graph, with each node replaced for which `change` returns another.
    ///
    /// # Errors
    /// Those of [`Graph::new`].
    pub fn with(&self, change: impl Fn(NodeId, &Node) -> Option<Node>) -> Result<Self> {
        Self::new(self.iter().map(|(id, node)| change(id, node).unwrap_or_else(|| node.clone())).collect())
    }

    /// The node of `site`, if the model has it. Ids are in the order of the pass.
    pub fn position(&self, site: &SiteName) -> Option<NodeId> {
        self.by_site.get(site).copied()
    }

    /// The node of this role in a layer, or outside the layers.
    pub fn find(&self, layer: Option<usize>, role: Role) -> Option<NodeId> {
        self.ids().find(|id| {
            let node = &self.nodes[id.0];
            node.role == role && node.layer == layer
        })
    }

    /// The node with this id; `None` if the id belongs to a larger graph.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.0)
    }

    /// Every node, in the order of the pass.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> + ExactSizeIterator {
        self.nodes.iter().enumerate().map(|(n, node)| (NodeId(n), node))
    }

    /// Every id, in the order of the pass.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + ExactSizeIterator + use<> {
        (0..self.nodes.len()).map(NodeId)
    }

    /// The kinds of site that the model has.
    pub fn kinds(&self) -> Kinds {
        self.nodes.iter().filter_map(|node| Some(node.site.probed()?.kind)).collect()
    }

    /// The last node: the logits from which tokens are sampled.
    pub fn output(&self) -> Option<NodeId> {
        self.ids().next_back()
    }
}
