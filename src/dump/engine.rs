//! The graph, weights and arithmetics with which the operations of a recorded pass are recomputed.

use std::collections::BTreeMap;

use super::Against;
use super::reference::judged_as;
use super::shown;
use crate::Result;
use crate::graph::{self, Graph, NodeId, Operation, Role, SiteName};
use crate::oracle::{Exact, Executor, LastRead, OnBlocks, Pass, Precision, Rounded, Slot, Token};
use crate::probe::{Arithmetic, Site};
use crate::recording::{Recording, SiteTensor};
use crate::weights::Weights;

/// The graph of the recorded model, and everything except the inputs that is needed to compute its nodes.
pub(super) struct Engine<'a> {
    /// The whole graph; without a config, only the part that needs none.
    pub graph: Graph,
    /// The sites of the probed nodes. Not every node is probed.
    sites: BTreeMap<NodeId, Site>,
    weights: Option<&'a Weights>,
    /// The tokens of the recording.
    pub pass: Pass,
    precision: Precision,
    arithmetic: Arithmetic,
    read: LastRead,
}

impl<'a> Engine<'a> {
    /// An engine for a recording of a model with `layers` layers; `None` if no node can be computed.
    ///
    /// # Errors
    /// The config contradicts itself, or the recording cannot be read.
    pub fn new(dump: &Recording, against: &Against<'a>, layers: usize) -> Result<Option<Self>> {
        let Against { weights, arithmetic, .. } = *against;
        let graph = match against.config.or(weights.map(Weights::config)) {
            Some(config) => Some(graph::of(config)?),
            None => shown::graph(dump, layers)?,
        };
        let Some(graph) = graph else { return Ok(None) };
        let probed = |(id, node): (NodeId, &graph::Node)| Some((id, node.site.probed()?));
        Ok(Some(Self {
            sites: graph.iter().filter_map(probed).collect(),
            graph,
            weights,
            pass: pass(dump)?,
            precision: Precision::of(judged_as(dump.dtype)),
            arithmetic,
            read: LastRead::default(),
        }))
    }

    /// The site of a node, if the node is probed.
    pub fn site(&self, id: NodeId) -> Option<Site> {
        self.sites.get(&id).copied()
    }

    /// The node of a site.
    pub fn node(&self, site: Site) -> Option<NodeId> {
        self.graph.position(&SiteName::from(site))
    }

    /// The node of silu(gate) in a layer, which is not a site.
    pub fn activation(&self, layer: u16) -> Option<NodeId> {
        self.graph.find(Some(layer.into()), Role::Activation)
    }

    /// The tensor that was recorded for a node.
    ///
    /// # Errors
    /// A tensor cannot be read.
    pub fn recorded(
        &self,
        dump: &Recording,
        against: &Against<'_>,
        id: NodeId,
    ) -> Result<Option<SiteTensor>> {
        match (self.site(id), self.graph.node(id)) {
            (Some(site), _) => dump.fit(site, against),
            (None, Some(node)) if node.role == Role::Activation => {
                let layer = node.layer.and_then(|layer| u16::try_from(layer).ok());
                layer.map_or(Ok(None), |layer| dump.fit_activation(layer, against))
            }
            _ => Ok(None),
        }
    }

    /// The number of entries per row.
    pub fn width(&self, id: NodeId) -> usize {
        self.graph.node(id).map_or(0, |node| node.shape.width(self.pass.length()))
    }

    /// The RoPE position of the token at a place.
    pub fn position(&self, place: (usize, usize)) -> Option<usize> {
        self.pass.token(place).map(|token| token.position)
    }

    /// Are all weights of this node available? A bundle contains only some of the weights.
    pub fn has_weights_of(&self, id: NodeId) -> bool {
        let there = |name: &str| self.weights.is_some_and(|weights| weights.shape(name).is_some());
        self.graph.node(id).is_some_and(|node| node.weights().into_iter().all(there))
    }

    /// Is the node a source, whose values come from outside the graph?
    pub fn is_source(&self, id: NodeId) -> bool {
        self.is(id, |operation| *operation == Operation::Source)
    }

    /// Is the node a softmax, with one probability per key?
    pub fn is_softmax(&self, id: NodeId) -> bool {
        self.is(id, |operation| *operation == Operation::Softmax)
    }

    /// The keys or values that the node reads of other tokens, if it does.
    pub fn keys_of(&self, id: NodeId) -> Option<NodeId> {
        let keys = self.graph.node(id)?.inputs.get(1)?.node;
        self.attends(id).then_some(keys)
    }

    /// Does the node read the keys or values of other tokens?
    pub fn attends(&self, id: NodeId) -> bool {
        self.is(id, |operation| matches!(operation, Operation::Scores(_) | Operation::Context(_)))
    }

    /// Does the node add many terms, so that the order of summation changes the result?
    pub fn sums(&self, id: NodeId) -> bool {
        self.is(id, |operation| {
            matches!(
                operation,
                Operation::Norm(_)
                    | Operation::Linear(_)
                    | Operation::Scores(_)
                    | Operation::Softmax
                    | Operation::Context(_)
            )
        })
    }

    /// Is the node recomputed for each reader and never stored? This is the case for nodes that need no
    /// weights and are among the largest tensors of a long pass.
    pub fn on_the_way(&self, id: NodeId) -> bool {
        self.is(id, |operation| {
            matches!(operation, Operation::Scores(_) | Operation::Softmax | Operation::Activation(_))
        })
    }

    fn is(&self, id: NodeId, what: impl Fn(&Operation) -> bool) -> bool {
        self.graph.node(id).is_some_and(|node| what(&node.operation))
    }

    /// An executor that computes the exact values.
    pub fn exact(&self) -> Executor<'_, OnBlocks<'_, Exact>> {
        let exact = OnBlocks::exact(self.arithmetic, &self.read);
        Executor::new(&self.graph, self.weights, &self.pass, exact)
    }

    /// An executor that computes the values of run number `run` of a correct port in this port's dtype.
    pub fn rounded(&self, run: usize) -> Executor<'_, OnBlocks<'_, Rounded>> {
        let rounded = Rounded { precision: self.precision, run };
        let arithmetic = OnBlocks::rounded(self.arithmetic, rounded, &self.read);
        Executor::new(&self.graph, self.weights, &self.pass, arithmetic)
    }
}

/// The slots of a recording, those before it first. The values of its padding are unknown.
fn pass(dump: &Recording) -> Result<Pass> {
    let (input, past) = (&dump.input, dump.cache().slots());
    let slot = |b: usize, slot: usize| match slot.checked_sub(past) {
        _ if !dump.is_real((b, slot)) => Slot::Unknown,
        None => Slot::Cached,
        Some(s) => Slot::Real(Token { id: input.ids[b][s], position: input.positions[b][s] }),
    };
    let row = |b: usize| (0..dump.slots()).map(|s| slot(b, s)).collect();
    Pass::new((0..input.batch()).map(row).collect())
}
