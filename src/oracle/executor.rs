//! Computes any node of a graph, or any cut of it, from given inputs.

use std::collections::{BTreeMap, BTreeSet};

use super::arithmetic::Arithmetic;
use super::available::AvailableTensors;
use super::given::Given;
use super::pass::{Pass, Place};
use super::placed::Placed;
use super::plan::{Plan, Step};
use super::step::Stepper;
use super::streamed::Steps;
use crate::graph::{Graph, Node, NodeId};
use crate::weights::Weights;
use crate::{Error, Result};

/// Runs a graph with its weights over a pass, in one arithmetic.
///
/// A row of a node is computed from rows of its inputs, so a node is known only at the places where its
/// inputs are known: an unknown row makes the rows that depend on it unknown, and no others. Weights are read
/// node by node, at most one matrix is in memory at a time, and a tensor is dropped after the last node that
/// reads it.
#[derive(Clone, Debug)]
pub struct Executor<'a, A> {
    graph: &'a Graph,
    weights: Option<&'a Weights>,
    pass: &'a Pass,
    arithmetic: A,
}

impl<'a, A: Arithmetic> Executor<'a, A> {
    /// An executor for `graph` over `pass`, with or without weights.
    pub fn new(
        graph: &'a Graph,
        weights: impl Into<Option<&'a Weights>>,
        pass: &'a Pass,
        arithmetic: A,
    ) -> Self {
        Self { graph, weights: weights.into(), pass, arithmetic }
    }

    /// Computes each node of `wanted` and passes it to `see`, in the order of the pass. Nodes read given
    /// values where there are any; all other inputs are computed, if necessary starting from the token ids. A
    /// wanted node is computed even if it is given.
    ///
    /// # Errors
    /// Given rows do not fit, weights are missing or have another shape, a token is outside the vocabulary,
    /// no row of a node can be computed, or `see` returns an error.
    pub fn compute(
        &self,
        wanted: &BTreeSet<NodeId>,
        given: &Given,
        see: &mut dyn FnMut(NodeId, &Placed) -> Result<()>,
    ) -> Result<()> {
        match self.run(wanted, None, given, see)? {
            None => Ok(()),
            Some(node) => {
                let what = format!("{}: no row can be computed from the given rows", node.site);
                let hint = "give rows of all its inputs at the same places, and all keys that they attend to";
                Err(Error::input(what, hint))
            }
        }
    }

    /// Computes the rows of one node at `places`, and only those rows of other nodes that these depend on.
    /// Rows that cannot be computed from the given values are left out; `None` if there are no others.
    ///
    /// # Errors
    /// Those of [`Executor::compute`], except that it is not an error if no row can be computed.
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
    /// Those of [`Executor::compute`].
    pub fn one(&self, wanted: NodeId, given: &Given) -> Result<Placed> {
        let mut found = None;
        self.compute(&BTreeSet::from([wanted]), given, &mut |_, placed| {
            found = Some(placed.clone());
            Ok(())
        })?;
        found.ok_or_else(|| Error::internal("the wanted node was not computed"))
    }

    /// Computes `wanted` and passes it to `see`, only at `places` if there are any. Stops at the first node
    /// of which no row can be computed and returns it.
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
            let available = AvailableTensors { given, computed: &computed, wanted: wanted_here };
            let arithmetic = self.arithmetic.at(id);
            let stepper = Stepper { weights: self.weights, pass: self.pass, arithmetic: &arithmetic };
            let placed = match step {
                Step::Node(id) => stepper.node(self.node(id)?, &available)?,
                Step::Attention { context, probs, scores } => {
                    let steps = Steps {
                        scores: self.arithmetic.at(scores),
                        softmax: self.arithmetic.at(probs),
                        context: self.arithmetic.at(context),
                    };
                    stepper.attention(self.node(context)?, self.node(scores)?, &steps, &available)?
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
        let unknown = || {
            Error::input(
                format!("the graph has no node {}", id.index()),
                "take node ids from the graph that is executed",
            )
        };
        self.graph.node(id).ok_or_else(unknown)
    }
}
