//! Computes what the tensor of a failed site would be under given deviations.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::Evidence;
use super::deviated::{Deviated, is_padding};
use super::deviation::{Deviation, Sees};
use super::fit::Expected;
use crate::Result;
use crate::graph::{Graph, Node, NodeId, Operation};
use crate::oracle::{Executor, Place, Placed, Slots};

/// The tensor of a port that has these deviations at every node of the cut that they apply to. `None` if one
/// of the inputs is unknown.
///
/// # Errors
/// A weight cannot be read.
pub(super) fn run(e: &Evidence<'_>, made: &[Deviation]) -> Result<Option<Expected>> {
    run_at(e, made, &|_| true)
}

/// Like [`run`], for a port that has the deviations only at some nodes.
///
/// # Errors
/// A weight cannot be read.
pub(super) fn run_at(
    e: &Evidence<'_>,
    made: &[Deviation],
    within: &dyn Fn(&Node) -> bool,
) -> Result<Option<Expected>> {
    run_rows(e, made, within, &e.places)
}

/// Like [`run_at`], only the rows at these places.
///
/// # Errors
/// A weight cannot be read.
pub(super) fn run_rows(
    e: &Evidence<'_>,
    made: &[Deviation],
    within: &dyn Fn(&Node) -> bool,
    places: &[Place],
) -> Result<Option<Expected>> {
    let Some(given) = &e.given else { return Ok(None) };
    let node = |id: &NodeId| e.graph.node(*id);
    if e.nodes().flat_map(Node::weights).any(|name| e.context.weights.shape(name).is_none()) {
        return Ok(None);
    }
    let concerned = |node: &Node| within(node) && made.iter().any(|d| d.concerns(&node.operation));
    let nodes: BTreeSet<NodeId> =
        e.cut.iter().copied().filter(|id| node(id).is_some_and(concerned)).collect();
    // Not every deviation makes a valid graph: a wrong input may have another width.
    let Ok(graph) = deviated(&e.graph, made, &nodes) else { return Ok(None) };
    let arithmetic =
        Deviated { deviations: made, nodes: &nodes, matrices: &e.matrices, arithmetic: e.context.arithmetic };
    let executor = Executor::new(&graph, e.context.weights, e.context.pass, arithmetic);
    let placed = executor.rows(e.id, places, given)?.filter(|placed| placed.places() == places);
    Ok(placed.and_then(|placed| expected(e, made, placed)))
}

/// The graph with the deviations' parameters at these nodes.
fn deviated<'g>(graph: &'g Graph, made: &[Deviation], nodes: &BTreeSet<NodeId>) -> Result<Cow<'g, Graph>> {
    if !made.iter().any(Deviation::edits_the_graph) {
        return Ok(Cow::Borrowed(graph));
    }
    let changed = graph.with(|id, node| {
        nodes.contains(&id).then(|| made.iter().fold(node.clone(), |node, d| d.on(graph, node)))
    });
    changed.map(Cow::Owned)
}

/// Marks entries as unknown: scores of padding whose keys were not recorded. Nothing computed from such
/// scores can be predicted.
fn expected(e: &Evidence<'_>, made: &[Deviation], placed: Placed) -> Option<Expected> {
    let sees = made.iter().rev().find_map(|d| if let Deviation::Sees(sees) = d { Some(*sees) } else { None });
    let scores = e.cut.iter().find_map(|&id| {
        let node = e.graph.node(id)?;
        if let Operation::Scores(scores) = &node.operation { Some((id, node, scores.mask)) } else { None }
    });
    let (Some(sees), Some((id, node, mask))) =
        (sees.filter(|sees| *sees != Sees::Pads { zero: true }), scores)
    else {
        return Some(placed.rows().clone().into());
    };
    let keys = e.given.as_ref()?.values.get(&node.inputs.get(1)?.node);
    let (pass, t) = (e.context.pass, e.context.pass.length());
    let slots = keys.map(|keys| Slots::new(keys.places(), t));
    let unknown_key = |&(batch, own): &(usize, usize), slot: usize| {
        let known = slots.as_ref().is_some_and(|slots| slots.at(batch, slot).is_some());
        is_padding(pass.slot((batch, slot))) && !known && sees.sees(pass, mask, (batch, own), slot)
    };
    let any = placed.places().iter().any(|place| (0..t).any(|slot| unknown_key(place, slot)));
    if !any {
        return Some(placed.rows().clone().into());
    }
    let mut rows = placed.rows().clone();
    let mut unknown = vec![false; rows.values.len()];
    for (n, value) in rows.values.iter_mut().enumerate() {
        if unknown_key(&placed.places()[n / rows.width], n % t) {
            (*value, unknown[n]) = (0.0, true);
        }
    }
    (id == e.id).then(|| Expected::but_for(rows, unknown))
}
