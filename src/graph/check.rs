//! Checks that the nodes of a graph fit together.

use std::collections::BTreeSet;

use super::attention::HeadMap;
use super::node::{Edge, Node, RowShape};
use super::norm::NormSpan;
use super::operation::Operation;
use super::rope::FrequencyLaw;
use super::site::SiteName;

/// The sequence length at which widths are compared.
const KEYS: usize = 1;

/// The first inconsistent node, and what is wrong with it.
pub(super) fn fault(nodes: &[Node]) -> Option<(SiteName, String)> {
    if nodes.is_empty() {
        return Some((SiteName::new("the graph"), "it has no nodes".into()));
    }
    let (mut sites, mut roles) = (BTreeSet::new(), BTreeSet::new());
    for (n, node) in nodes.iter().enumerate() {
        let problem = if !sites.insert(&node.site) {
            Some("two nodes have this site".into())
        } else if !roles.insert((node.layer, node.role)) {
            Some(format!("another node of its layer also has the role {}", node.role))
        } else if node.inputs.iter().any(|input| input.node.index() >= n) {
            Some("an input does not come before it".into())
        } else {
            fault_of(node, nodes)
        };
        if let Some(problem) = problem {
            return Some((node.site.clone(), problem));
        }
    }
    None
}

/// What is wrong with a node whose inputs come before it.
fn fault_of(node: &Node, nodes: &[Node]) -> Option<String> {
    let shapes: Vec<RowShape> = node.inputs.iter().map(|input| nodes[input.node.index()].shape).collect();
    let edges: Vec<Edge> = node.inputs.iter().map(|input| input.edge).collect();
    if edges != edges_of(&node.operation) {
        return Some(format!("a {} cannot have the inputs {edges:?}", node.operation.name()));
    }
    if node.shape.width(KEYS) == 0 {
        return Some("its size is 0".into());
    }
    let fits = match &node.operation {
        Operation::Source | Operation::Embedding(_) => true,
        Operation::Linear(linear) => {
            linear.rows.as_ref().is_none_or(|rows| rows.len() == node.shape.width(KEYS))
        }
        Operation::Norm(norm) => {
            let run = match norm.rule.span {
                NormSpan::Row => node.shape.width(KEYS),
                NormSpan::Head { head_dim } => head_dim,
            };
            shapes[0] == node.shape && whole(node.shape, run)
        }
        Operation::Rope(rope) => {
            let pairs = rope.turned > 0 && rope.turned.is_multiple_of(2) && rope.turned <= rope.head_dim;
            let divisors = match &rope.law {
                FrequencyLaw::Divided { divisors, .. } => divisors.len() == rope.turned / 2,
                FrequencyLaw::Base { .. } | FrequencyLaw::Linear { .. } | FrequencyLaw::Llama3 { .. } => true,
            };
            let width = shapes[0].width(KEYS) == node.shape.width(KEYS);
            pairs && divisors && width && whole(shapes[0], rope.head_dim)
        }
        Operation::Scores(scores) => {
            looks_at(&scores.heads, scores.head_dim, shapes[1])
                && shapes[0].width(KEYS) == scores.heads.len().saturating_mul(scores.head_dim)
                && node.shape == RowShape::HeadsByKeys { heads: scores.heads.len() }
        }
        Operation::Context(context) => {
            looks_at(&context.heads, context.head_dim, shapes[1])
                && shapes[0] == RowShape::HeadsByKeys { heads: context.heads.len() }
                && node.shape.width(KEYS) == context.heads.len().saturating_mul(context.head_dim)
        }
        Operation::Softmax => shapes[0] == node.shape && matches!(node.shape, RowShape::HeadsByKeys { .. }),
        Operation::Activation(_)
        | Operation::Product
        | Operation::WeightedSum { .. }
        | Operation::Softcap { .. }
        | Operation::Scale { .. } => shapes.iter().all(|&shape| shape == node.shape),
    };
    (!fits).then(|| format!("a {} of {shapes:?} cannot give {:?}", node.operation.name(), node.shape))
}

/// The edges of an operation, in the order of its inputs.
fn edges_of(operation: &Operation) -> Vec<Edge> {
    match operation {
        Operation::Source | Operation::Embedding(_) => vec![],
        Operation::Norm(_)
        | Operation::Linear(_)
        | Operation::Rope(_)
        | Operation::Softmax
        | Operation::Activation(_)
        | Operation::Softcap { .. }
        | Operation::Scale { .. } => vec![Edge::RowWise],
        Operation::Scores(_) | Operation::Context(_) => vec![Edge::RowWise, Edge::AllKeys],
        Operation::Product => vec![Edge::RowWise; 2],
        Operation::WeightedSum { factors } => vec![Edge::RowWise; factors.len().max(1)],
    }
}

/// Whether a row consists of a whole number of runs of `run` entries.
fn whole(shape: RowShape, run: usize) -> bool {
    run > 0 && !matches!(shape, RowShape::HeadsByKeys { .. }) && shape.width(KEYS).is_multiple_of(run)
}

/// Whether a row of keys or values contains every head that the map uses.
fn looks_at(heads: &HeadMap, head_dim: usize, keys: RowShape) -> bool {
    whole(keys, head_dim) && heads.iter().all(|&head| head < keys.width(KEYS) / head_dim)
}
