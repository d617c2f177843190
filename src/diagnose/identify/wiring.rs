//! Other inputs: an operation that reads, or returns, another tensor of its layer.

use std::sync::Arc;

use super::Proposal;
use super::proposal::{called, called_input, is_own, source};
use crate::diagnose::Evidence;
use crate::diagnose::deviation::{Change, Deviation};
use crate::graph::{Node, NodeId, Operation, Role};

pub(super) fn proposals(e: &Evidence<'_>, node: &Node) -> Vec<Proposal> {
    let mut all = Vec::new();
    let name = called(node);
    for n in 0..node.inputs.len() {
        let right = called_input(e, node, n);
        for (other, id) in known(e, node.inputs[n].node) {
            let says = format!("you compute {name} from {}; it reads {right}", source(other));
            all.push(Proposal::new("wrong-input", node, Deviation::Reads { n, node: id }, says));
        }
    }
    all.extend(other_layers(e, node));
    if matches!(node.operation, Operation::WeightedSum { .. }) {
        return all; // Its own proposals are sums of all tensors.
    }
    let same = |other: &&(&Node, NodeId)| other.0.shape.width(1) == node.shape.width(1);
    for (other, id) in everything(e).iter().filter(same) {
        // A copy is equal in every bit. Another tensor may be within the budget of half precision.
        if is_own(e, node) && !is_copy(e, *id) {
            continue;
        }
        let says =
            format!("your {name} is equal to {}: the operation does nothing, or is not run", source(other));
        all.push(Proposal::new("wrong-tensor", node, Deviation::Sum(vec![(1.0, *id)]), says));
    }
    all
}

/// Whether the port's rows are those of this tensor.
fn is_copy(e: &Evidence<'_>, id: NodeId) -> bool {
    let rows = e.given.as_ref().and_then(|given| given.values.get(&id)?.kept(&e.places));
    rows.is_some_and(|placed| placed.rows().values == e.got.values)
}

/// The first norm of a layer, or the last norm, of another layer's output: a layer is skipped, repeated or in
/// another place.
fn other_layers(e: &Evidence<'_>, node: &Node) -> Vec<Proposal> {
    let (Operation::Norm(_), Role::AttnPreNorm | Role::FinalNorm) = (&node.operation, node.role) else {
        return vec![];
    };
    let own = node.inputs.first().map(|input| input.node);
    let streams = e.graph.iter().filter(|(_, other)| matches!(other.role, Role::Block | Role::Embed));
    let others = streams.filter(|(id, _)| Some(*id) != own);
    let right = called_input(e, node, 0);
    let read = |(id, other): (NodeId, &Node)| {
        let rows = e.tensors.at(id)?.kept(&e.places)?.rows().clone();
        let says = format!(
            "{} reads {}; it should read {right}: a layer is skipped, repeated, or run in another place",
            called(node),
            source(other)
        );
        let made = Deviation::Input { n: 0, change: Change::Is(Arc::new(rows)) };
        Some(Proposal::new("layer-order", node, made, says))
    };
    others.filter_map(read).collect()
}

/// The known tensors that are as wide as the node `right`, without it.
fn known<'e>(e: &'e Evidence<'_>, right: NodeId) -> Vec<(&'e Node, NodeId)> {
    let Some(width) = e.graph.node(right).map(|node| node.shape.width(1)) else { return vec![] };
    let fits = |(node, id): &(&Node, NodeId)| *id != right && node.shape.width(1) == width;
    everything(e).into_iter().filter(fits).collect()
}

/// Every known tensor, the latest first.
pub(super) fn everything<'e>(e: &'e Evidence<'_>) -> Vec<(&'e Node, NodeId)> {
    let ids = e.given.iter().flat_map(|given| given.values.keys().rev());
    ids.filter_map(|&id| Some((e.graph.node(id)?, id))).collect()
}
