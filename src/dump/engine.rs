//! What the operations of a recorded pass are computed with.

use std::collections::BTreeMap;

use super::Against;
use super::shown;
use super::truth::judged_as;
use crate::Result;
use crate::graph::{self, Graph, NodeId, Operation, SiteName};
use crate::oracle::{Exact, Executor, LastRead, OnBlocks, Pass, Precision, Rounded, Slot, Token};
use crate::probe::{Arithmetic, Site};
use crate::recording::Recording;
use crate::weights::Weights;

/// The graph of the recorded model, and all that its nodes are computed from but their inputs.
pub(super) struct Engine<'a> {
    /// Without a config, the part of it that needs none.
    pub graph: Graph,
    /// The sites of its nodes. Not every node is one that is probed.
    sites: BTreeMap<NodeId, Site>,
    weights: Option<&'a Weights>,
    /// Its tokens.
    pub pass: Pass,
    precision: Precision,
    arithmetic: Arithmetic,
    read: LastRead,
}

impl<'a> Engine<'a> {
    /// For a recording of a model of `layers` layers; none where nothing of it can be computed.
    ///
    /// # Errors
    /// A config that contradicts itself, a recording that cannot be read.
    pub fn new(dump: &Recording, against: &Against<'a>, layers: usize) -> Result<Option<Self>> {
        let Against { weights, arithmetic, .. } = *against;
        let graph = match against.config.or(weights.map(Weights::config)) {
            Some(config) => Some(graph::llama(config)?),
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

    /// The site of a node, if it is one that is probed.
    pub fn site(&self, id: NodeId) -> Option<Site> {
        self.sites.get(&id).copied()
    }

    /// The node of a site.
    pub fn node(&self, site: Site) -> Option<NodeId> {
        self.graph.position(&SiteName::from(site))
    }

    /// Entries of a row.
    pub fn width(&self, id: NodeId) -> usize {
        self.graph.node(id).map_or(0, |node| node.shape.width(self.pass.length()))
    }

    /// The position that the token at a place is rotated by.
    pub fn position(&self, place: (usize, usize)) -> Option<usize> {
        self.pass.token(place).map(|token| token.position)
    }

    /// Are all weights of this node there? Those of a bundle are a part.
    pub fn has_weights_of(&self, id: NodeId) -> bool {
        let there = |name: &str| self.weights.is_some_and(|weights| weights.shape(name).is_some());
        self.graph.node(id).is_some_and(|node| node.weights().into_iter().all(there))
    }

    /// Does it come from outside the graph?
    pub fn is_source(&self, id: NodeId) -> bool {
        self.is(id, |operation| *operation == Operation::Source)
    }

    /// Is it a probability for each key?
    pub fn is_softmax(&self, id: NodeId) -> bool {
        self.is(id, |operation| *operation == Operation::Softmax)
    }

    /// Does it add up many terms, so that the order of summation changes the result?
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

    /// Is it computed on the way to the node that reads it, and never kept as a whole? It needs no weights, and is
    /// as large as anything in a long pass.
    pub fn on_the_way(&self, id: NodeId) -> bool {
        self.is(id, |operation| {
            matches!(operation, Operation::Scores(_) | Operation::Softmax | Operation::Activation(_))
        })
    }

    fn is(&self, id: NodeId, what: impl Fn(&Operation) -> bool) -> bool {
        self.graph.node(id).is_some_and(|node| what(&node.operation))
    }

    /// Computes what should have come out.
    pub fn exact(&self) -> Executor<'_, OnBlocks<'_, Exact>> {
        let exact = OnBlocks::exact(self.arithmetic, &self.read);
        Executor::new(&self.graph, self.weights, &self.pass, exact)
    }

    /// Computes what honest arithmetic in the dtype of the port gives in run number `run`.
    pub fn rounded(&self, run: usize) -> Executor<'_, OnBlocks<'_, Rounded>> {
        let rounded = Rounded { precision: self.precision, run };
        let arithmetic = OnBlocks::rounded(self.arithmetic, rounded, &self.read);
        Executor::new(&self.graph, self.weights, &self.pass, arithmetic)
    }
}

/// The slots of a recording. Of its padding nothing is known.
fn pass(dump: &Recording) -> Result<Pass> {
    let input = &dump.input;
    let slot = |b: usize, s: usize| {
        let token = Token { id: input.ids[b][s], position: input.positions[b][s] };
        if input.real[b][s] { Slot::Real(token) } else { Slot::Unknown }
    };
    let row = |b: usize| (0..input.len()).map(|s| slot(b, s)).collect();
    Pass::new((0..input.batch()).map(row).collect())
}
