//! The interface of an arithmetic: how the operations of a graph are carried out.

use candle_core::Tensor;

use super::rows::Rows;
use super::sight::{RowPlaces, Sight};
use crate::Result;
use crate::graph::{Activation, Context, Embedding, MatrixRows, NodeId, NormRule, Rope, Scores};
use crate::weights::Weights;

/// One way to carry out every operation of a graph. The executor checks all shapes before it calls these
/// methods.
pub trait Arithmetic {
    /// The representation of a matrix in this arithmetic.
    type Matrix;

    /// The arithmetic for one node. Most arithmetics are the same at every node.
    fn at(&self, node: NodeId) -> Self;

    /// Reads the matrix `name`, or only the rows `rows` of it.
    ///
    /// # Errors
    /// The matrix cannot be read.
    fn matrix(&self, weights: &Weights, name: &str, rows: Option<&MatrixRows>) -> Result<Self::Matrix>;

    /// The rows `ids` of the embedding table, scaled: `[ids, hidden]`.
    ///
    /// # Errors
    /// The table cannot be read, or an id is past its last row.
    fn embedding(&self, weights: &Weights, embedding: &Embedding, ids: &[u32]) -> Result<Rows>;

    /// Normalises x; the result has the width of x. Weight and bias have the length of the normalised span.
    fn norm(&self, x: &Rows, rule: &NormRule, weight: &[f64], bias: Option<&[f64]>) -> Rows;

    /// x Wᵀ + bias, `[rows, in]` → `[rows, out]`.
    ///
    /// # Errors
    /// The product fails.
    fn linear(&self, x: &Rows, matrix: &Self::Matrix, bias: Option<&[f64]>) -> Result<Rows>;

    /// Rotates each row of x by its position: `[rows, heads * head_dim]`.
    fn rope(&self, x: &Rows, rope: &Rope, at: &RowPlaces) -> Rows;

    /// Attention scores of queries and keys, −inf where no key is visible: `[queries, heads * slots]`.
    ///
    /// # Errors
    /// The product fails.
    fn scores(&self, q: &Rows, k: &Rows, sight: &Sight, scores: &Scores) -> Result<Rows>;

    /// Softmax of each run of `slots` entries; 0 where every entry of a run is −inf. `at` has the places of
    /// the queries.
    fn softmax(&self, scores: &Rows, slots: usize, at: &RowPlaces) -> Rows;

    /// The sum of the values weighted by `probs`, heads concatenated: `[queries, heads * head_dim]`.
    ///
    /// # Errors
    /// The product fails.
    fn context(&self, probs: &Rows, v: &Rows, sight: &Sight, context: &Context) -> Result<Rows>;

    /// Softmax of the scores and the weighted sum of the values in one pass, if this arithmetic computes them so:
    /// `[queries, heads * slots]` → `[queries, heads * head_dim]`. `None` if probabilities are computed first.
    fn in_one_pass(&self, _scores: &Rows, _v: &Rows, _sight: &Sight, _context: &Context) -> Option<Rows> {
        None
    }

    /// Applies the activation function to each entry.
    fn activation(&self, x: &Rows, activation: Activation) -> Rows;

    /// a · b, entry by entry.
    fn product(&self, a: &Rows, b: &Rows) -> Rows;

    /// Σ factor · term, entry by entry. There must be at least one term.
    fn weighted_sum(&self, terms: &[(f64, &Rows)]) -> Rows;

    /// cap · tanh(x / cap) of each entry.
    fn softcap(&self, x: &Rows, cap: f64) -> Rows;

    /// factor · x.
    fn scale(&self, x: &Rows, factor: f64) -> Rows;
}

/// An arithmetic that multiplies by float matrices.
pub trait Floats: Arithmetic {
    /// Converts a float32 matrix `[out, in]` to this arithmetic's representation.
    ///
    /// # Errors
    /// The tensor is not a matrix.
    fn of_floats(&self, matrix: &Tensor) -> Result<Self::Matrix>;
}
