//! The ways in which a port can deviate from the graph of its model, as data.
//!
//! A deviation either changes the parameters of a node ([`Deviation::on`]), or how the node is computed,
//! which [`Deviated`](super::deviated::Deviated) implements. Of two deviations of one kind, the later one
//! applies.

mod attention;
mod change;
mod described;
mod embedding;
mod format;
mod function;
mod gate;
mod linear;
mod norm;
mod rope;
mod softmax;
mod turn;

pub(super) use attention::{Leaks, MaskValue, Misread, ScoreTerm, Sees};
pub(super) use change::{Change, Edge, Row};
pub(super) use described::described;
pub(super) use embedding::LookUp;
pub(super) use format::{Block, Format};
pub(super) use function::Function;
pub(super) use gate::{Cancelling, LowGate};
pub(super) use linear::{LowFactors, MatrixReading, OtherModule};
pub(super) use norm::{Divisor, EpsUse, LowNorm, NormForm, NormWeight};
pub(super) use rope::{LowTables, Positions};
pub(super) use softmax::{LowSoftmax, SoftmaxForm};
pub(super) use turn::Turn;

use crate::graph::{self, EpsPlace, FrequencyLaw, Graph, HeadMap, Input, Node, NodeId, Operation, Role};

/// One way in which a port deviates from the graph.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Deviation {
    /// An embedding times this number.
    EmbeddingScale(f64),
    /// A norm with this ε, inside or outside the root.
    Eps { eps: f64, place: EpsPlace },
    /// A norm that multiplies by another vector than its weight.
    NormWeight(NormWeight),
    /// A norm in half precision.
    LowNorm(LowNorm),
    /// A rotation with these frequencies.
    Frequencies(FrequencyLaw),
    /// A rotation of these pairs of elements, `[turned/2]`.
    Pairs(Vec<(usize, usize)>),
    /// A rotation by other positions.
    Positions(Positions),
    /// A rotation whose tables are rounded to half precision.
    LowTables(LowTables),
    /// Attention with another mask.
    Sees(Sees),
    /// Masked scores that are a finite number.
    MaskValue(MaskValue),
    /// A softmax in which masked scores count.
    Leaks(Leaks),
    /// A softmax in half precision.
    LowSoftmax(LowSoftmax),
    /// Keys and values read from memory with their strides ignored.
    Misread(Misread),
    /// Query heads that use these key and value heads.
    LooksAt(HeadMap),
    /// Scores scaled by this number.
    ScoreScale(f64),
    /// A product with another matrix, built from those in the file.
    Matrix(MatrixReading),
    /// A product to which this vector is added, `[out]`.
    Bias(Vec<f64>),
    /// A product with another matrix, to which another bias is added.
    Module(OtherModule),
    /// A product whose factors are rounded.
    LowFactors(LowFactors),
    /// The activation of up, multiplied by gate.
    GateExchanged,
    /// The activation and its product with up in half precision.
    LowGate(LowGate),
    /// A change of what the operation reads as input `n`.
    Input { n: usize, change: Change },
    /// A change of what the operation returns. Scores are changed before the mask.
    Output(Change),
    /// Input `n` is another node.
    Reads { n: usize, node: NodeId },
    /// The operation is replaced by Σ factor · node.
    Sum(Vec<(f64, NodeId)>),
    /// An embedding that looks up other rows.
    LookUp(LookUp),
    /// A norm of another form.
    NormForm(NormForm),
    /// A rotation that turns pairs in another way.
    Turn(Turn),
    /// Scores with something added before the mask.
    ScorePlus(ScoreTerm),
    /// Another softcap of the scores, or none, before the mask, or after it.
    ScoreSoftcap { cap: Option<f64>, after_mask: bool },
    /// Another softcap of the logits, or none.
    LogitSoftcap(Option<f64>),
    /// Another function than the softmax.
    SoftmaxForm(SoftmaxForm),
    /// Another function of the gate.
    Gate(Function),
    /// SiLU computed by a subtraction in half precision.
    Cancelling(Cancelling),
    /// The sum of the activation and up, not their product.
    GateAdded,
    /// The activation of the product of gate and up.
    GateInside,
}

impl Deviation {
    /// Whether this deviation applies to a node with this operation.
    pub(super) fn concerns(&self, operation: &Operation) -> bool {
        match self {
            Self::EmbeddingScale(_) => matches!(operation, Operation::Embedding(_)),
            Self::Eps { .. } | Self::NormWeight(_) | Self::LowNorm(_) => {
                matches!(operation, Operation::Norm(_))
            }
            Self::Frequencies(_) | Self::Pairs(_) | Self::Positions(_) | Self::LowTables(_) => {
                matches!(operation, Operation::Rope(_))
            }
            Self::Sees(_) | Self::MaskValue(_) | Self::ScoreScale(_) => {
                matches!(operation, Operation::Scores(_))
            }
            Self::Leaks(_) => matches!(operation, Operation::Softmax | Operation::Context(_)),
            Self::LowSoftmax(_) => matches!(operation, Operation::Softmax),
            Self::Misread(_) | Self::LooksAt(_) => {
                matches!(operation, Operation::Scores(_) | Operation::Context(_))
            }
            Self::Matrix(_) | Self::Bias(_) | Self::Module(_) | Self::LowFactors(_) => {
                matches!(operation, Operation::Linear(_))
            }
            Self::GateExchanged | Self::LowGate(_) | Self::GateInside => {
                matches!(operation, Operation::Activation(_) | Operation::Product)
            }
            Self::Gate(_) | Self::Cancelling(_) => matches!(operation, Operation::Activation(_)),
            Self::GateAdded => matches!(operation, Operation::Product),
            Self::Input { .. } | Self::Output(_) | Self::Reads { .. } | Self::Sum(_) => true,
            Self::LookUp(_) => matches!(operation, Operation::Embedding(_)),
            Self::NormForm(_) => matches!(operation, Operation::Norm(_)),
            Self::Turn(_) => matches!(operation, Operation::Rope(_)),
            Self::ScorePlus(_) | Self::ScoreSoftcap { .. } => matches!(operation, Operation::Scores(_)),
            Self::LogitSoftcap(_) => matches!(operation, Operation::Softcap { .. }),
            Self::SoftmaxForm(_) => matches!(operation, Operation::Softmax),
        }
    }

    /// Whether each row of the result depends on the same row of the inputs only, apart from keys and values.
    pub(super) fn is_row_wise(&self) -> bool {
        match self {
            Self::Input { change, .. } | Self::Output(change) => change.is_row_wise(),
            Self::NormForm(form) => form.is_row_wise(),
            Self::SoftmaxForm(form) => form.is_row_wise(),
            _ => true,
        }
    }

    /// Whether it changes the parameters or the inputs of a node, and not only how the node is computed.
    pub(super) const fn edits_the_graph(&self) -> bool {
        matches!(
            self,
            Self::EmbeddingScale(_)
                | Self::Eps { .. }
                | Self::Frequencies(_)
                | Self::LooksAt(_)
                | Self::ScoreScale(_)
                | Self::ScoreSoftcap { after_mask: false, .. }
                | Self::LogitSoftcap(_)
                | Self::GateExchanged
                | Self::Reads { .. }
                | Self::Sum(_)
        )
    }

    /// A node of `graph` with the parameters that this deviation gives it.
    pub(super) fn on(&self, graph: &Graph, mut node: Node) -> Node {
        match (self, &mut node.operation) {
            (Self::EmbeddingScale(by), Operation::Embedding(embedding)) => embedding.scale *= by,
            (Self::Eps { eps, place }, Operation::Norm(norm)) => {
                (norm.rule.eps, norm.rule.eps_place) = (*eps, *place);
            }
            (Self::Frequencies(law), Operation::Rope(rope)) => rope.law.clone_from(law),
            (Self::LooksAt(heads), Operation::Scores(scores)) => scores.heads.clone_from(heads),
            (Self::LooksAt(heads), Operation::Context(context)) => context.heads.clone_from(heads),
            (Self::ScoreScale(scale), Operation::Scores(scores)) => scores.scale = *scale,
            (Self::ScoreSoftcap { cap, after_mask: false }, Operation::Scores(scores)) => {
                scores.softcap = *cap;
            }
            (Self::LogitSoftcap(other), operation @ Operation::Softcap { .. }) => {
                *operation = match *other {
                    Some(cap) => Operation::Softcap { cap },
                    None => Operation::Scale { factor: 1.0 },
                };
            }
            (Self::Reads { n, node: other }, _) => {
                if let Some(input) = node.inputs.get_mut(*n) {
                    input.node = *other;
                }
            }
            (Self::Sum(terms), operation) => {
                *operation = Operation::WeightedSum { factors: terms.iter().map(|(by, _)| *by).collect() };
                let input = |&(_, node): &(f64, NodeId)| Input { node, edge: graph::Edge::RowWise };
                node.inputs = terms.iter().map(input).collect();
            }
            (Self::GateExchanged, Operation::Activation(_)) => reads(graph, &mut node, 0, Role::Up),
            (Self::GateExchanged, Operation::Product) => reads(graph, &mut node, 1, Role::Gate),
            _ => {}
        }
        node
    }
}

/// Makes input `n` of a node the node of another role in its layer.
fn reads(graph: &Graph, node: &mut Node, n: usize, role: Role) {
    if let (Some(other), Some(input)) = (graph.find(node.layer, role), node.inputs.get_mut(n)) {
        *input = Input { node: other, ..*input };
    }
}
