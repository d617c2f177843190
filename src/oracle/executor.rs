//! Computes any node of a graph, or any cut of it, from given inputs.

use std::collections::{BTreeMap, BTreeSet};

use super::arithmetic::Arithmetic;
use super::given::Given;
use super::known::Known;
use super::pass::{Pass, Place};
use super::placed::Placed;
use super::plan::{Plan, Step};
use super::step::Stepper;
use super::streamed::Steps;
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
    weights: Option<&'a Weights>,
    pass: &'a Pass,
    arithmetic: A,
}

impl<'a, A: Arithmetic> Executor<'a, A> {
    /// Computes `graph` over `pass` with these weights, or without any.
    pub fn new(
        graph: &'a Graph,
        weights: impl Into<Option<&'a Weights>>,
        pass: &'a Pass,
        arithmetic: A,
    ) -> Self {
        Self { graph, weights: weights.into(), pass, arithmetic }
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
        match self.run(wanted, None, given, see)? {
            None => Ok(()),
            Some(node) => {
                let what =
                    format!("{}: no row of it can be computed from the rows that are known", node.site);
                let hint = "give rows of its inputs at the same places, and all keys that they see";
                Err(Error::input(what, hint))
            }
        }
    }

    /// Computes the rows of one node at `places`, and of other nodes only the rows that these depend on; nothing
    /// where no such row follows from what is given. Rows that do not are left out.
    ///
    /// # Errors
    /// As [`Executor::compute`], but for a node of which no row can be computed.
    pub fn rows(&self, wanted: NodeId, places: &[Place], given: &Given) -> Result<Option<Placed>> {
        let mut found = None;
        self.run(&BTreeSet::from([wanted]), Some(places), given, &mut |_, placed| {
            found = Some(placed.clone());
            Ok(())
        })?;
        Ok(found)
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

    /// Computes and shows `wanted`, at `places` if these alone are wanted, until there is a node without rows: that
    /// one.
    fn run(
        &self,
        wanted: &BTreeSet<NodeId>,
        places: Option<&[Place]>,
        given: &Given,
        see: &mut dyn FnMut(NodeId, &Placed) -> Result<()>,
    ) -> Result<Option<&'a Node>> {
        given.check(self.graph, self.pass)?;
        for &id in wanted {
            self.node(id)?;
        }
        let plan = Plan::new(self.graph, wanted, &given.nodes());
        let needed = places.map(|places| plan.needed(self.graph, wanted, places));
        let mut computed: BTreeMap<NodeId, Placed> = BTreeMap::new();
        for (n, &step) in plan.steps.iter().enumerate() {
            let id = step.result();
            let wanted_here = needed.as_ref().and_then(|needed| needed.get(&id));
            let known = Known { given, computed: &computed, wanted: wanted_here };
            let arithmetic = self.arithmetic.at(id);
            let stepper = Stepper { weights: self.weights, pass: self.pass, arithmetic: &arithmetic };
            let placed = match step {
                Step::Node(id) => stepper.node(self.node(id)?, &known)?,
                Step::Attention { context, probs, scores } => {
                    let steps = Steps {
                        scores: self.arithmetic.at(scores),
                        softmax: self.arithmetic.at(probs),
                        context: self.arithmetic.at(context),
                    };
                    stepper.attention(self.node(context)?, self.node(scores)?, &steps, &known)?
                }
            };
            if placed.places().is_empty() {
                return self.node(id).map(Some);
            }
            if wanted.contains(&id) {
                see(id, &placed)?;
            }
            computed.insert(id, placed);
            computed.retain(|&id, _| plan.reads_later(id, n));
        }
        Ok(None)
    }

    fn node(&self, id: NodeId) -> Result<&'a Node> {
        let unknown =
            || Error::input(format!("the graph has no node {}", id.index()), "ask its own graph for ids");
        self.graph.node(id).ok_or_else(unknown)
    }
}
