//! The inputs of a computation.

use std::collections::{BTreeMap, BTreeSet};

use super::pass::{Pass, Place, Slot};
use super::placed::Placed;
use crate::graph::{Graph, NodeId};
use crate::{Error, Result};

/// Tensors that are used without being computed. If there are none, a pass starts from its token ids.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// The values of these nodes, for every node that reads them. Keys and values may include the rows of earlier
    /// passes, unless they are in `cached`.
    pub values: BTreeMap<NodeId, Placed>,
    /// The keys and values of earlier passes, at the places of [`Slot::Cached`]. Attention reads them
    /// together with the rows of this pass.
    pub cached: BTreeMap<NodeId, Placed>,
}

impl Given {
    /// The nodes whose values are given.
    pub(super) fn nodes(&self) -> BTreeSet<NodeId> {
        self.values.keys().copied().collect()
    }

    /// Checks that every tensor belongs to a node of `graph` and has rows of its shape at places of `pass`.
    ///
    /// # Errors
    /// The first tensor that does not.
    pub(super) fn check(&self, graph: &Graph, pass: &Pass) -> Result<()> {
        let filled =
            |place: Place| matches!(pass.slot(place), Some(Slot::Cached)) || pass.token(place).is_some();
        let cached = |place: Place| pass.slot(place) == Some(Slot::Cached);
        for (&id, placed) in &self.values {
            fits(graph, pass, id, placed, &filled)?;
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
    let hint = "give rows with the width that the graph declares, at places that exist in the pass";
    let Some(node) = graph.node(id) else {
        return Err(Error::input(format!("the graph has no node {}", id.index()), hint));
    };
    let (width, own) = (node.shape.width(pass.length()), placed.rows().width);
    if own != width {
        return Err(Error::input(format!("{}: rows have {own} entries, expected {width}", node.site), hint));
    }
    match placed.places().iter().find(|&&place| !allowed(place)) {
        Some(place) => Err(Error::input(format!("{}: the pass has no row at {place:?}", node.site), hint)),
        None => Ok(()),
    }
}
