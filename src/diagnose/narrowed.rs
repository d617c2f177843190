//! The same evidence with other given tensors: for one operation alone, or with all tensors near it.

use std::collections::BTreeSet;

use super::Evidence;
use super::cut::Cut;
use super::deviated::Deviated;
use super::matrices::Matrices;
use crate::Result;
use crate::graph::{Node, NodeId, Role};
use crate::oracle::{Executor, Given};

impl Evidence<'_> {
    /// The same evidence for the site's own operation alone: the operations before it are computed correctly.
    /// A port's fused kernel counts as one operation. `None` if the cut contains nothing else.
    ///
    /// # Errors
    /// A weight cannot be read.
    pub(super) fn alone(&self) -> Result<Option<Self>> {
        let hidden =
            |node: &Node| node.site.probed().is_none_or(|site| self.context.hides.contains(&site.kind));
        let computed = self.graph.iter().filter(|(_, node)| hidden(node)).map(|(id, _)| id).collect();
        let cut = Cut::new(&self.graph, self.id, &computed);
        if cut.nodes.len() == self.cut.len() {
            return Ok(None);
        }
        let before = self.given.as_ref().map(|given| self.before(&cut, given)).transpose()?;
        Ok(Some(Self { cut: cut.nodes, given: before.flatten(), ..self.copy() }))
    }

    /// The same evidence, with no matrix read yet.
    pub(super) fn copy(&self) -> Self {
        Self {
            context: self.context.clone(),
            graph: self.graph.clone(),
            id: self.id,
            cut: self.cut.clone(),
            given: self.given.clone(),
            places: self.places.clone(),
            positions: self.positions.clone(),
            got: self.got.clone(),
            want: self.want.clone(),
            noise: self.noise.clone(),
            matrices: Matrices::default(),
            tensors: self.tensors,
        }
    }

    /// The same evidence with all known tensors of the layer that are computed before the site, and with the
    /// layer's input: the operation may have read one of them by mistake. `None` if an input of the site is
    /// unknown.
    pub(super) fn with_neighbours(&self) -> Option<Self> {
        let mut given = self.given.clone()?;
        let first = self.cut.first().and_then(|&id| self.graph.node(id))?;
        let layers: BTreeSet<Option<usize>> = self.nodes().map(|node| node.layer).collect();
        let near = |node: &Node| {
            layers.contains(&node.layer)
                || (node.role == Role::Block && node.layer.map(|layer| layer + 1) == first.layer)
                || (node.role == Role::Embed && first.layer.unwrap_or(0) == 0)
        };
        let before = self.graph.iter().filter(|(id, node)| *id < self.id && near(node));
        let read = |(id, node): (NodeId, &Node)| {
            let own = layers.contains(&node.layer);
            let inputs = node.inputs.iter().filter(|_| own).map(|input| input.node);
            [id].into_iter().chain(inputs).collect::<Vec<_>>()
        };
        let ids: BTreeSet<NodeId> = before.flat_map(read).collect();
        let unknown = ids.into_iter().filter(|id| !self.cut.contains(id));
        for id in unknown.filter(|&id| !self.tensors.computes(id)).collect::<Vec<_>>() {
            if !given.values.contains_key(&id)
                && let Some(placed) = self.tensors.at(id)
            {
                given.values.insert(id, placed);
            }
        }
        Some(Self { given: Some(given), ..self.copy() })
    }

    /// The inputs of a smaller cut: given, or computed correctly. `None` if the weights for that are missing.
    fn before(&self, cut: &Cut, given: &Given) -> Result<Option<Given>> {
        let mut weights = self.nodes().flat_map(Node::weights);
        if weights.any(|name| self.context.weights.shape(name).is_none()) {
            return Ok(None);
        }
        let mut values = given.values.clone();
        let wanted: BTreeSet<NodeId> =
            cut.read.iter().copied().filter(|id| !given.values.contains_key(id)).collect();
        let (none, matrices) = (BTreeSet::new(), &self.matrices);
        let exact = Deviated { deviations: &[], nodes: &none, matrices, arithmetic: self.context.arithmetic };
        let executor = Executor::new(&self.graph, self.context.weights, self.context.pass, exact);
        executor.compute(&wanted, given, &mut |id, placed| {
            values.insert(id, placed.clone());
            Ok(())
        })?;
        values.retain(|id, _| cut.read.contains(id));
        let mut cached = given.cached.clone();
        cached.retain(|id, _| cut.nodes.contains(id));
        Ok(Some(Given { values, cached }))
    }
}
