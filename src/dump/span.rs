//! Finds what a recorded site is recomputed from: recorded tensors, operations and weights.

use std::collections::{BTreeMap, BTreeSet};

use super::Against;
use super::engine::Engine;
use crate::Result;
use crate::graph::{Cut, Node, NodeId, Operation};
use crate::probe::Site;
use crate::recording::{Recording, SiteTensor};

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
        let (cut, read) = usable(self, against, &engine, id)?;
        let nodes = || cut.compute.iter().filter_map(|&node| engine.graph.node(node));
        let matrix = |node: &Node| match &node.operation {
            Operation::Linear(linear) => Some(linear.weight.clone()),
            _ => None,
        };
        let weights: BTreeSet<&str> = nodes().flat_map(Node::weights).collect();
        Ok(Some(Span {
            operations: cut.compute.iter().filter_map(|&node| engine.site(node)).collect(),
            inputs: read.keys().filter_map(|&node| engine.site(node)).collect(),
            weights: weights.into_iter().map(str::to_owned).collect(),
            matrices: nodes().filter_map(matrix).collect(),
        }))
    }
}

/// The operations between `id` and the last recorded tensors before it, and those tensors. A tensor that does
/// not fit is computed instead.
pub(super) fn usable(
    dump: &Recording,
    against: &Against<'_>,
    engine: &Engine<'_>,
    id: NodeId,
) -> Result<(Cut, BTreeMap<NodeId, SiteTensor>)> {
    let activations = dump.activations().filter_map(|layer| engine.activation(layer));
    let nodes = dump.sites().filter_map(|site| engine.node(site)).chain(activations);
    let mut given: BTreeSet<NodeId> = nodes.filter(|node| *node != id).collect();
    loop {
        let cut = engine.graph.cut(&BTreeSet::from([id]), &given);
        let mut read = BTreeMap::new();
        for &node in &cut.read {
            let recorded = engine.recorded(dump, against, node)?;
            match recorded.filter(|recorded| recorded.width() == engine.width(node)) {
                Some(recorded) => _ = read.insert(node, recorded),
                None => _ = given.remove(&node),
            }
        }
        if read.len() == cut.read.len() {
            return Ok((cut, read));
        }
    }
}
