//! Finds what a recorded site is recomputed from: recorded tensors, operations and weights.

use std::collections::{BTreeMap, BTreeSet};

use super::Against;
use super::engine::Engine;
use crate::Result;
use crate::graph::{Node, NodeId, Operation};
use crate::probe::Site;
use crate::recording::Recording;

/// The operations between a recorded site and the last recorded tensors before it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Span {
    /// The sites of the operations, ending with the recorded site.
    pub operations: Vec<Site>,
    /// The recorded sites that they read, in forward order.
    pub inputs: Vec<Site>,
    /// The weights that they use.
    pub weights: Vec<String>,
    /// The weights among these that are matrices of a matrix product.
    pub matrices: Vec<String>,
}

impl Recording {
    /// The span that ends at `site`; `None` if this model does not have the site.
    ///
    /// # Errors
    /// A tensor cannot be read, or the config contradicts itself.
    pub fn span(&self, site: Site, against: &Against<'_>) -> Result<Option<Span>> {
        let Some(engine) = Engine::new(self, against, self.layers(against)?)? else { return Ok(None) };
        let Some(id) = engine.node(site) else { return Ok(None) };
        let others = self.sites().filter(|&other| other != site);
        let mut given: BTreeMap<NodeId, Site> =
            others.filter_map(|other| Some((engine.node(other)?, other))).collect();
        loop {
            let cut = engine.graph.cut(&BTreeSet::from([id]), &given.keys().copied().collect());
            let mut misfits = Vec::new();
            for &read in &cut.read {
                let recorded = given.get(&read).map_or(Ok(None), |&input| self.fit(input, against))?;
                if recorded.is_none_or(|recorded| recorded.width() != engine.width(read)) {
                    misfits.push(read);
                }
            }
            if misfits.is_empty() {
                let nodes = || cut.compute.iter().filter_map(|&node| engine.graph.node(node));
                let matrix = |node: &Node| match &node.operation {
                    Operation::Linear(linear) => Some(linear.weight.clone()),
                    _ => None,
                };
                let weights: BTreeSet<&str> = nodes().flat_map(Node::weights).collect();
                return Ok(Some(Span {
                    operations: cut.compute.iter().filter_map(|&node| engine.site(node)).collect(),
                    inputs: cut.read.iter().filter_map(|read| given.get(read).copied()).collect(),
                    weights: weights.into_iter().map(str::to_owned).collect(),
                    matrices: nodes().filter_map(matrix).collect(),
                }));
            }
            // A replay recomputes the tensors that it cannot use.
            given.retain(|node, _| !misfits.contains(node));
        }
    }
}
