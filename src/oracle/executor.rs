//! Computes any node of a graph, or any cut of it, from given inputs.

use std::collections::{BTreeMap, BTreeSet};

use super::arithmetic::Arithmetic;
use super::given::Given;
use super::known::Known;
use super::pass::Pass;
use super::placed::Placed;
use super::plan::{Plan, Step};
use super::step::Stepper;
use crate::graph::{Graph, Node, NodeId};
use crate::weights::Weights;
use crate::{Error, Result};

/// A graph with weights, ready to run over a pass in one arithmetic.
///
/// A row of a node follows from the rows of its inputs, so a node is known at the places where its inputs are: a
/// row that is not known makes rows unknown that depend on it, and no others. Weights are read node by node; no more
/// than one matrix is in memory at once, and a tensor is dropped after the last node that reads it.
#[derive(Clone, Debug)]
pub struct Executor<'a, A> {
    graph: &'a Graph,
    weights: &'a Weights,
    pass: &'a Pass,
    arithmetic: A,
}

impl<'a, A: Arithmetic> Executor<'a, A> {
    /// Computes `graph` with `weights` over `pass`.
    pub const fn new(graph: &'a Graph, weights: &'a Weights, pass: &'a Pass, arithmetic: A) -> Self {
        Self { graph, weights, pass, arithmetic }
    }

    /// Computes each node of `wanted` and shows it to `see`, in the order of the pass. A node reads what is given;
    /// what is not given is computed, from the token ids on if need be. A wanted node is computed although it is
    /// given.
    ///
    /// # Errors
    /// Given rows that do not fit, weights that are missing or have another shape, a token outside the vocabulary, a
    /// node of which no row can be computed, and whatever `see` gives.
    pub fn compute(
        &self,
        wanted: &BTreeSet<NodeId>,
        given: &Given,
        see: &mut dyn FnMut(NodeId, &Placed) -> Result<()>,
    ) -> Result<()> {
        given.check(self.graph, self.pass)?;
        for &id in wanted {
            self.node(id)?;
        }
        let plan = Plan::new(self.graph, wanted, &given.nodes());
        let stepper = Stepper { weights: self.weights, pass: self.pass, arithmetic: &self.arithmetic };
        let mut computed: BTreeMap<NodeId, Placed> = BTreeMap::new();
        for (n, &step) in plan.steps.iter().enumerate() {
            let known = Known { given, computed: &computed };
            let placed = match step {
                Step::Node(id) => stepper.node(self.node(id)?, &known)?,
                Step::Attention { context, scores } => {
                    stepper.attention(self.node(context)?, self.node(scores)?, &known)?
                }
            };
            let id = step.result();
            if wanted.contains(&id) {
                see(id, &placed)?;
            }
            computed.insert(id, placed);
            computed.retain(|&id, _| plan.reads_later(id, n));
        }
        Ok(())
    }

    /// Computes one node.
    ///
    /// # Errors
    /// As [`Executor::compute`].
    pub fn one(&self, wanted: NodeId, given: &Given) -> Result<Placed> {
        let mut found = None;
        self.compute(&BTreeSet::from([wanted]), given, &mut |_, placed| {
            found = Some(placed.clone());
            Ok(())
        })?;
        found.ok_or_else(|| Error::internal("the wanted node was not computed"))
    }

    fn node(&self, id: NodeId) -> Result<&'a Node> {
        let unknown =
            || Error::input(format!("the graph has no node {}", id.index()), "ask its own graph for ids");
        self.graph.node(id).ok_or_else(unknown)
    }
}
