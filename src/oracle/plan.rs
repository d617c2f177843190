//! Plans the steps in which a cut of a graph is computed, and how long each result must be kept.

use std::collections::{BTreeMap, BTreeSet};

use super::pass::Place;
use crate::graph::{Cut, Edge, Graph, Input, Node, NodeId, Operation};

/// One step of a computation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Compute a node from its inputs.
    Node(NodeId),
    /// Compute a context from queries, keys and values block by block, without storing all scores and
    /// probabilities.
    Attention { context: NodeId, probs: NodeId, scores: NodeId },
}

impl Step {
    /// The node that this step computes.
    pub const fn result(self) -> NodeId {
        match self {
            Self::Node(id) | Self::Attention { context: id, .. } => id,
        }
    }

    /// The inputs that this step reads.
    fn reads(self, graph: &Graph) -> Vec<Input> {
        let inputs = |id| graph.node(id).into_iter().flat_map(|node| node.inputs.iter().copied());
        match self {
            Self::Node(id) => inputs(id).collect(),
            // The context's first input, the probabilities, is computed within this step.
            Self::Attention { context, scores, .. } => {
                inputs(scores).chain(inputs(context).skip(1)).collect()
            }
        }
    }
}

/// The steps of a cut.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub steps: Vec<Step>,
    /// The last step that reads each node.
    last: BTreeMap<NodeId, usize>,
}

impl Plan {
    /// Plans the computation of `wanted` from `given`. Attention is streamed wherever neither its scores nor
    /// its probabilities are wanted or given.
    pub fn new(graph: &Graph, wanted: &BTreeSet<NodeId>, given: &BTreeSet<NodeId>) -> Self {
        let Cut { compute, .. } = graph.cut(wanted, given);
        let hidden = hidden(graph, &compute, wanted, given);
        let made_on_the_way: BTreeSet<NodeId> = hidden.values().flatten().copied().collect();
        let shown = compute.into_iter().filter(|id| !made_on_the_way.contains(id));
        let steps: Vec<Step> = shown
            .map(|id| match hidden.get(&id) {
                Some(&[scores, probs]) => Step::Attention { context: id, probs, scores },
                None => Step::Node(id),
            })
            .collect();
        let reads = steps
            .iter()
            .enumerate()
            .flat_map(|(n, step)| step.reads(graph).into_iter().map(move |input| (input.node, n)));
        let last = reads.collect(); // a later step replaces an earlier one
        Self { steps, last }
    }

    /// The places at which each node is needed in order to compute `wanted` at `places`. A node that is
    /// missing from the result is needed at all places.
    pub fn needed(
        &self,
        graph: &Graph,
        wanted: &BTreeSet<NodeId>,
        places: &[Place],
    ) -> BTreeMap<NodeId, BTreeSet<Place>> {
        let at: BTreeSet<Place> = places.iter().copied().collect();
        let mut needed: BTreeMap<NodeId, BTreeSet<Place>> =
            wanted.iter().map(|&id| (id, at.clone())).collect();
        let mut whole: BTreeSet<NodeId> = BTreeSet::new();
        // Backwards, because all steps that read a node come after the step that computes it.
        for step in self.steps.iter().rev() {
            let own = needed.get(&step.result()).cloned();
            for input in step.reads(graph) {
                match (&own, input.edge) {
                    (Some(own), Edge::RowWise) => needed.entry(input.node).or_default().extend(own),
                    (None, _) | (_, Edge::AllKeys) => _ = whole.insert(input.node),
                }
            }
            // All readers of a node are visited before the node, so its entry is final by then.
            needed.retain(|id, _| !whole.contains(id));
        }
        needed
    }

    /// Does a step after step `n` read `id`?
    pub fn reads_later(&self, id: NodeId, n: usize) -> bool {
        self.last.get(&id).is_some_and(|&last| last > n)
    }
}

/// Each context whose scores and probabilities no other node needs: context → scores, probabilities.
fn hidden(
    graph: &Graph,
    compute: &[NodeId],
    wanted: &BTreeSet<NodeId>,
    given: &BTreeSet<NodeId>,
) -> BTreeMap<NodeId, [NodeId; 2]> {
    let mut readers: BTreeMap<NodeId, usize> = BTreeMap::new();
    for node in compute.iter().filter_map(|&id| graph.node(id)) {
        node.inputs.iter().for_each(|input| *readers.entry(input.node).or_default() += 1);
    }
    // The first input of a node, if this node is its only reader and it is neither wanted nor given.
    let between = |node: &Node| {
        let id = node.inputs.first()?.node;
        let free = !wanted.contains(&id) && !given.contains(&id) && readers.get(&id) == Some(&1);
        free.then_some((id, graph.node(id)?))
    };
    let attention = |&context: &NodeId| {
        let node = graph.node(context).filter(|node| matches!(node.operation, Operation::Context(_)))?;
        let (probs, node) = between(node).filter(|(_, node)| node.operation == Operation::Softmax)?;
        let (scores, _) = between(node).filter(|(_, node)| matches!(node.operation, Operation::Scores(_)))?;
        Some((context, [scores, probs]))
    };
    compute.iter().filter_map(attention).collect()
}
