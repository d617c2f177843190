//! What a computation starts from.

use std::collections::{BTreeMap, BTreeSet};

use super::pass::{Pass, Place, Slot};
use super::placed::Placed;
use crate::graph::{Graph, NodeId};
use crate::{Error, Result};

/// Tensors that are taken as they are. Without any, a pass starts from its token ids.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// What stands at these nodes wherever another node reads them.
    pub values: BTreeMap<NodeId, Placed>,
    /// The keys and values of earlier passes, at the places of [`Slot::Cached`]: nodes that attention reads see
    /// them beside the rows of this pass.
    pub cached: BTreeMap<NodeId, Placed>,
}

impl Given {
    /// The nodes whose values are given.
    pub(super) fn nodes(&self) -> BTreeSet<NodeId> {
        self.values.keys().copied().collect()
    }

    /// Does every tensor belong to a node of `graph`, with rows of its shape at places of `pass`?
    ///
    /// # Errors
    /// The first that does not.
    pub(super) fn check(&self, graph: &Graph, pass: &Pass) -> Result<()> {
        let token = |place: Place| pass.token(place).is_some();
        let cached = |place: Place| pass.slot(place) == Some(Slot::Cached);
        for (&id, placed) in &self.values {
            fits(graph, pass, id, placed, &token)?;
        }
        for (&id, placed) in &self.cached {
            fits(graph, pass, id, placed, &cached)?;
        }
        Ok(())
    }
}

fn fits(
    graph: &Graph,
    pass: &Pass,
    id: NodeId,
    placed: &Placed,
    allowed: &dyn Fn(Place) -> bool,
) -> Result<()> {
    let hint = "give rows as wide as the graph says, at places that the pass has";
    let Some(node) = graph.node(id) else {
        return Err(Error::input(format!("the graph has no node {}", id.index()), hint));
    };
    let (width, own) = (node.shape.width(pass.length()), placed.rows().width);
    if own != width {
        return Err(Error::input(format!("{}: rows of {own} entries, not of {width}", node.site), hint));
    }
    match placed.places().iter().find(|&&place| !allowed(place)) {
        Some(place) => Err(Error::input(format!("{}: no row can stand at {place:?}", node.site), hint)),
        None => Ok(()),
    }
}
