//! The values that PyTorch rounds to the model's dtype within a node.

use super::norm::NormCast;
use super::operation::Operation;
use super::rope::RopeCast;

/// A value that PyTorch rounds to the model's dtype while it computes a node. Exact arithmetic rounds
/// nothing. Rounded arithmetic reproduces PyTorch's noise only if it uses PyTorch's casts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cast {
    /// The factor of an embedding, before the multiplication.
    Factor,
    /// The normed rows, before the weight.
    Normed,
    /// The cosines and sines of a rotation.
    CosSin,
    /// Both products of a rotation, before their sum.
    Turned,
    /// Products of queries and keys, before the scale.
    Unscaled,
    /// Scores, before the softcap.
    Uncapped,
    /// x / c in a softcap.
    Quotient,
    /// tanh(x / c) in a softcap.
    Tanh,
    /// A matrix product, before the bias.
    Unbiased,
    /// Each term of a weighted sum whose factor is not 1.
    Term,
    /// The node's result.
    Result,
}

impl Operation {
    /// The casts of this operation, in the order in which they happen.
    pub fn casts(&self) -> Vec<Cast> {
        let mut casts = match self {
            Self::Source => return vec![],
            Self::Embedding(embedding) if embedding.scale == 1.0 => vec![],
            Self::Embedding(_) => vec![Cast::Factor],
            Self::Norm(norm) => match norm.rule.cast {
                NormCast::BeforeWeight => vec![Cast::Normed],
                NormCast::AfterWeight => vec![],
            },
            Self::Linear(linear) => linear.bias.iter().map(|_| Cast::Unbiased).collect(),
            Self::Rope(rope) => match rope.cast {
                RopeCast::EveryStep => vec![Cast::CosSin, Cast::Turned],
                RopeCast::Sum => vec![],
            },
            Self::Scores(scores) => match scores.softcap {
                None => vec![Cast::Unscaled],
                Some(_) => vec![Cast::Unscaled, Cast::Uncapped, Cast::Quotient, Cast::Tanh],
            },
            Self::WeightedSum { factors } if factors.iter().any(|&factor| factor != 1.0) => vec![Cast::Term],
            Self::Softcap { .. } => vec![Cast::Quotient, Cast::Tanh],
            Self::WeightedSum { .. }
            | Self::Softmax
            | Self::Context(_)
            | Self::Activation(_)
            | Self::Product
            | Self::Scale { .. } => vec![],
        };
        casts.push(Cast::Result);
        casts
    }
}
