//! One stage in rounded arithmetic, in one order of summation, under all feeds at once.

use std::collections::{BTreeMap, BTreeSet};

use super::noise::error;
use super::stacked::{self, FEEDS, and, part, stack};
use crate::graph::{Graph, Linear, Node, NodeId, Operation, Role};
use crate::oracle::{Executor, Given, LastRead, OnBlocks, Pass, Place, Placed, Rounded};
use crate::probe::Arithmetic;
use crate::weights::Weights;
use crate::{Error, Result};

/// One order of summation.
pub(super) struct Order<'a> {
    pub rounded: Rounded,
    /// The input of the stage, computed from rounded values only.
    pub own: Option<&'a Placed>,
}

/// The computation of a stage.
pub(super) struct Lane<'a> {
    pub graph: &'a Graph,
    pub weights: &'a Weights,
    /// One batch row for each feed.
    pub pass: &'a Pass,
    pub nodes: &'a [(NodeId, &'a Node)],
    /// The true values, and those of the input.
    pub truths: &'a BTreeMap<NodeId, Placed>,
    /// The places at which tensors over keys are computed.
    pub shown: &'a [Place],
    pub order: Order<'a>,
}

/// What was computed.
#[derive(Default)]
pub(super) struct Seen {
    /// The rows under each feed that later nodes read.
    stacked: BTreeMap<NodeId, Placed>,
    /// The error under each feed, of the maximum and the root mean square.
    errors: BTreeMap<NodeId, [[f64; 2]; 3]>,
}

impl Lane<'_> {
    /// The inputs of a node.
    pub fn given(node: &Node, values: &BTreeMap<NodeId, Placed>) -> Given {
        let inputs =
            node.inputs.iter().filter_map(|input| Some((input.node, values.get(&input.node)?.clone())));
        Given { values: inputs.collect(), ..Given::default() }
    }

    pub fn run(&self) -> Result<Seen> {
        let read = LastRead::default();
        let arithmetic = OnBlocks::rounded(Arithmetic::Dense, self.order.rounded, &read);
        let executor = Executor::new(self.graph, self.weights, self.pass, arithmetic);
        let mut seen = Seen::default();
        for input in self.nodes.iter().flat_map(|(_, node)| &node.inputs) {
            if let (Some(truth), Some(own), false) = (
                self.truths.get(&input.node),
                self.order.own,
                self.nodes.iter().any(|(id, _)| *id == input.node),
            ) {
                seen.stacked.insert(input.node, stack([truth, truth, own])?);
            }
        }
        let shown = stacked::places(self.shown, 0..FEEDS.len());
        for &(id, node) in self.nodes.iter().filter(|(_, node)| sliced(node).is_none()) {
            let given = Self::given(node, &seen.stacked);
            let computed = match node.operation {
                _ if node.role.is_over_keys() => and(executor.rows(id, &shown, &given)?, None)?,
                Operation::Context(_) => {
                    let on_truth = executor.rows(id, &stacked::places(self.shown, 0..1), &given)?;
                    let all: Vec<Place> = (0..self.pass.length()).map(|slot| (0, slot)).collect();
                    let others = stacked::places(&all, 1..FEEDS.len());
                    and(on_truth, executor.rows(id, &others, &self.attention(node, &seen)?)?)?
                }
                _ => {
                    let mut found = None;
                    executor.compute(&BTreeSet::from([id]), &given, &mut |_, placed| {
                        found = Some(placed.clone());
                        Ok(())
                    })?;
                    and(found, None)?
                }
            };
            seen.see(id, computed, self.truths)?;
            if node.site.probed().is_some() {
                seen.correct(id, self.truths)?;
            }
            let later = self.read_after(id);
            seen.stacked.retain(|id, _| later.contains(id));
        }
        Ok(seen)
    }

    /// The nodes that are read after `done`, and the last one, which the next stage reads.
    fn read_after(&self, done: NodeId) -> BTreeSet<NodeId> {
        let mut read: BTreeSet<NodeId> = self.nodes.last().map(|(id, _)| *id).into_iter().collect();
        for (_, node) in self.nodes.iter().filter(|(id, _)| *id > done) {
            read.extend(node.inputs.iter().map(|input| input.node));
            if let (Operation::Context(_), Some(scores)) = (&node.operation, self.scores_of(node)) {
                read.extend(scores.inputs.iter().map(|input| input.node));
            }
        }
        read
    }

    /// The scores that a context is computed from.
    fn scores_of(&self, context: &Node) -> Option<&Node> {
        let probs = self.graph.node(context.inputs.first()?.node)?;
        self.graph.node(probs.inputs.first()?.node)
    }

    /// Queries, keys and values, from which a context is computed without storing all scores.
    fn attention(&self, context: &Node, seen: &Seen) -> Result<Given> {
        let incomplete = || Error::internal("a context without scores");
        let scores = self.scores_of(context).ok_or_else(incomplete)?;
        let mut given = Self::given(scores, &seen.stacked);
        let value = context.inputs.get(1).ok_or_else(incomplete)?.node;
        given.values.extend(seen.stacked.get(&value).map(|values| (value, values.clone())));
        Ok(given)
    }
}

impl Seen {
    /// The rows under each feed.
    pub fn stacked(&self, id: NodeId) -> Option<&Placed> {
        self.stacked.get(&id)
    }

    /// Stores the rows of a node, and their errors.
    pub fn see(&mut self, id: NodeId, computed: Placed, truths: &BTreeMap<NodeId, Placed>) -> Result<()> {
        if let Some(truth) = truths.get(&id) {
            let mut errors = [[0.0; 2]; 3];
            for (feed, errors) in errors.iter_mut().enumerate() {
                *errors = error(&part(&computed, feed)?, truth);
            }
            self.errors.insert(id, errors);
        }
        self.stacked.insert(id, computed);
        Ok(())
    }

    /// Later nodes read the true values, under the feed that substitutes them at every site.
    fn correct(&mut self, id: NodeId, truths: &BTreeMap<NodeId, Placed>) -> Result<()> {
        if let (Some(computed), Some(truth)) = (self.stacked.get(&id), truths.get(&id)) {
            let corrected = stack([truth, &part(computed, 1)?, &part(computed, 2)?])?;
            self.stacked.insert(id, corrected);
        }
        Ok(())
    }

    /// The rows of a node that were computed from rounded values only.
    pub fn own(&self, id: NodeId) -> Result<Placed> {
        let stacked = self.stacked.get(&id).ok_or_else(|| Error::internal("a stage without a result"))?;
        part(stacked, 2)
    }
}

/// The largest error over all orders, `[feeds, max and rms]`, flattened.
pub(super) fn largest(lanes: &[Seen], id: NodeId) -> Vec<f64> {
    let mut all = vec![0f64; FEEDS.len() * 2];
    for errors in lanes.iter().filter_map(|lane| lane.errors.get(&id)) {
        // Not `max`, which drops NaN.
        for (most, &error) in all.iter_mut().zip(errors.iter().flatten()) {
            if error.is_nan() || error > *most {
                *most = error;
            }
        }
    }
    all
}

/// The product with the output matrix, which is read in slices.
pub(super) fn sliced(node: &Node) -> Option<&Linear> {
    match &node.operation {
        Operation::Linear(linear) if node.role == Role::Head => Some(linear),
        _ => None,
    }
}
