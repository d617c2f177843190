//! The closed list of operations that a node can compute, with all parameters as plain values.

use std::ops::Range;

use super::attention::{Context, Scores};
use super::norm::Norm;
use super::rope::Rope;

/// The operation of a node. Inputs are listed in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// Nothing: the tensor comes from outside the graph and must be given. No inputs.
    Source,
    /// Rows of a table, by token id. No inputs.
    Embedding(Embedding),
    /// A norm of the input.
    Norm(Norm),
    /// The product of the input with a matrix.
    Linear(Linear),
    /// The rotation of queries or keys.
    Rope(Rope),
    /// Scores of queries (first input) and keys (second input).
    Scores(Scores),
    /// e^x / Σ e^x over the keys of each head. A query that sees no key gets weights of 0.
    Softmax,
    /// Values (second input) weighted by probabilities (first input).
    Context(Context),
    /// A function of each entry.
    Activation(Activation),
    /// The product of both inputs, entry by entry.
    Product,
    /// Σ factor · input: residual additions, with one factor per input.
    WeightedSum {
        /// One factor per input, in the order of the inputs.
        factors: Vec<f64>,
    },
    /// c · tanh(x / c) of each entry.
    Softcap {
        /// c.
        cap: f64,
    },
    /// Each entry times a number.
    Scale {
        /// The number.
        factor: f64,
    },
}

/// Rows of a table, by token id.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    /// The table, `[vocab, hidden]`.
    pub weight: String,
    /// The factor of the rows, as part of the embedding. PyTorch rounds it to the model's dtype.
    pub scale: f64,
}

/// x Wᵀ + bias.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// The matrix, `[out, in]`.
    pub weight: String,
    /// The rows of the matrix, and entries of the bias, that are used; `None` means all.
    pub rows: Option<MatrixRows>,
    /// The tensor that is added, `[out]`.
    pub bias: Option<String>,
}

/// Rows of a matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MatrixRows {
    /// Consecutive rows: one part of a fused matrix.
    Range(Range<usize>),
    /// These rows, in this order.
    Listed(Vec<u32>),
}

impl MatrixRows {
    /// The number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Range(rows) => rows.len(),
            Self::Listed(rows) => rows.len(),
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One past the largest row number.
    pub fn end(&self) -> usize {
        match self {
            Self::Range(rows) => rows.end,
            Self::Listed(rows) => rows.iter().max().map_or(0, |&last| last as usize + 1),
        }
    }

    /// The row numbers. A matrix has fewer than 2³² rows.
    pub fn numbers(&self) -> Vec<u32> {
        match self {
            Self::Range(rows) => rows.clone().map(|row| u32::try_from(row).unwrap_or(u32::MAX)).collect(),
            Self::Listed(rows) => rows.clone(),
        }
    }
}

impl Linear {
    /// A whole matrix, without bias.
    pub fn whole(weight: impl Into<String>) -> Self {
        Self { weight: weight.into(), rows: None, bias: None }
    }
}

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x · σ(x).
    Silu,
    /// x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³))).
    GeluTanh,
}

impl Operation {
    /// The names of the weights that it reads.
    pub fn weights(&self) -> Vec<&str> {
        match self {
            Self::Embedding(embedding) => vec![&embedding.weight],
            Self::Norm(norm) => [&norm.weight].into_iter().chain(&norm.bias).map(String::as_str).collect(),
            Self::Linear(linear) => {
                [&linear.weight].into_iter().chain(&linear.bias).map(String::as_str).collect()
            }
            Self::Source
            | Self::Rope(_)
            | Self::Scores(_)
            | Self::Softmax
            | Self::Context(_)
            | Self::Activation(_)
            | Self::Product
            | Self::WeightedSum { .. }
            | Self::Softcap { .. }
            | Self::Scale { .. } => Vec::new(),
        }
    }

    /// Its name in messages.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Embedding(_) => "embedding",
            Self::Norm(_) => "norm",
            Self::Linear(_) => "linear",
            Self::Rope(_) => "rope",
            Self::Scores(_) => "scores",
            Self::Softmax => "softmax",
            Self::Context(_) => "context",
            Self::Activation(_) => "activation",
            Self::Product => "product",
            Self::WeightedSum { .. } => "weighted sum",
            Self::Softcap { .. } => "softcap",
            Self::Scale { .. } => "scale",
        }
    }
}
