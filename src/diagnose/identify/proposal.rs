//! One deviation that is tried, with its sentence.

use candle_core::DType;

use crate::diagnose::Evidence;
use crate::diagnose::deviation::Deviation;
use crate::diagnose::support::Number;
use crate::diagnose::usual::Usual;
use crate::graph::{Node, Role};

/// A deviation at one node.
pub(super) struct Proposal {
    pub tried: Usual,
    /// The free number that was chosen to fit.
    pub number: Number,
    /// The dtype whose ties may be rounded either way.
    pub coarse: Option<DType>,
}

impl Proposal {
    /// A deviation from a list.
    pub fn new(name: &'static str, node: &Node, deviation: Deviation, says: impl Into<String>) -> Self {
        Self::of(name, node, vec![deviation], says)
    }

    /// Several changes that make one mistake.
    pub fn of(name: &'static str, node: &Node, deviations: Vec<Deviation>, says: impl Into<String>) -> Self {
        let tried = Usual { mistake: name, deviations, role: Some(node.role), says: says.into() };
        Self { tried, number: Number::Listed, coarse: None }
    }

    /// Marks that a number of it was solved for.
    pub fn solved(self) -> Self {
        Self { number: Number::Real, ..self }
    }

    /// Marks that its whole number was chosen to fit, from so many.
    pub fn one_of(self, choices: usize) -> Self {
        Self { number: Number::Whole { choices }, ..self }
    }

    /// Marks that it rounds to a dtype.
    pub fn rounding(self, coarse: Option<DType>) -> Self {
        Self { coarse, ..self }
    }
}

/// Whether the embedding was not recorded. A norm of an embedding that is s times too large is the norm of the right
/// one with ε / s², and of s · x + o that of x + o / s: no factor can be named.
pub(super) fn scale_is_open(e: &Evidence<'_>) -> bool {
    e.nodes().any(|node| node.role == Role::Embed) && !is_own_role(e, Role::Embed)
}

fn is_own_role(e: &Evidence<'_>, role: Role) -> bool {
    e.node().is_some_and(|own| own.role == role)
}

/// The name of a node for the user: `q_proj`, `the layer's output`.
pub(super) fn called(node: &Node) -> String {
    match node.role {
        Role::Block => "the layer's output".into(),
        Role::AttnResidual => "the sum after the attention".into(),
        Role::Head => "the logits".into(),
        Role::Gated => "silu(gate) · up".into(),
        Role::Activation => "silu(gate)".into(),
        Role::Context => "the attention's output before o_proj".into(),
        Role::Embed => "the embedding".into(),
        _ => node.site.as_str().rsplit('.').next().unwrap_or_default().to_owned(),
    }
}

/// The name of input `n` of a node.
pub(super) fn called_input(e: &Evidence<'_>, node: &Node, n: usize) -> String {
    let input = node.inputs.get(n).and_then(|input| e.graph.node(input.node));
    input.map_or_else(|| "its input".into(), source)
}

/// The name of a node that is read: the residual stream is called by its meaning.
pub(super) fn source(node: &Node) -> String {
    match node.role {
        Role::Block if node.layer.is_some() => {
            format!("the output of layer {}", node.layer.unwrap_or_default())
        }
        Role::AttnResidual => "the residual stream after the attention".into(),
        _ => called(node),
    }
}

/// Whether this is the node of the failed site: its result was recorded.
pub(super) fn is_own(e: &Evidence<'_>, node: &Node) -> bool {
    e.node().is_some_and(|own| own.site == node.site)
}
