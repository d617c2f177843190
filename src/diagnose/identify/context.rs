//! Other sums of values: other heads, heads merged in another way, other values.

use std::sync::Arc;

use super::Proposal;
use crate::Result;
use crate::diagnose::Evidence;
use crate::diagnose::deviation::{Change, Deviation};
use crate::graph::{Context, Node, Operation, Role};
use crate::oracle::{Arithmetic, Exact, RowPlaces};

pub(super) fn proposals(e: &Evidence<'_>, node: &Node, context: &Context) -> Result<Vec<Proposal>> {
    let (slots, head_dim) = (e.context.pass.length(), context.head_dim);
    let output = |change: Change, says: &str| {
        Proposal::new("context-form", node, Deviation::Output(change), format!("you {says}"))
    };
    let input = |n: usize, change: Change, says: &str| {
        Proposal::new("context-form", node, Deviation::Input { n, change }, format!("you {says}"))
    };
    let mut all = Vec::new();
    all.push(output(
        Change::HeadsInFront { head_dim },
        "flatten [heads, seq, head_dim] without moving the head axis behind the positions first",
    ));
    all.push(input(0, Change::Transposed { slots }, "multiply by the transpose of the probabilities"));
    all.push(input(0, Change::WithoutOwn { slots }, "leave out each query's own value"));
    if let Some(rotated) = rotated_values(e, node)? {
        all.push(input(1, rotated, "rotate the values too; only queries and keys are rotated"));
    }
    Ok(all)
}

/// The values rotated as keys are.
fn rotated_values(e: &Evidence<'_>, node: &Node) -> Result<Option<Change>> {
    let values = node.inputs.get(1).and_then(|input| e.given.as_ref()?.values.get(&input.node));
    let keys = e.graph.find(node.layer, Role::KRope).and_then(|id| e.graph.node(id));
    let (Some(values), Some(Operation::Rope(rope))) = (values, keys.map(|node| &node.operation)) else {
        return Ok(None);
    };
    let at = RowPlaces { pass: e.context.pass, places: values.places() };
    Ok(Some(Change::Is(Arc::new(Exact.rope(values.rows(), rope, &at)))))
}
