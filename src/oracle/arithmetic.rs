//! How operations are carried out.

use candle_core::Tensor;

use super::rows::Rows;
use super::sight::{Sight, Standing};
use crate::Result;
use crate::graph::{Activation, Context, Embedding, MatrixRows, NodeId, NormRule, Rope, Scores};
use crate::weights::Weights;

/// One way to carry out every operation of a graph. The executor has checked all shapes.
pub trait Arithmetic {
    /// A matrix as this arithmetic multiplies with it.
    type Matrix;

    /// The arithmetic of one node. Most are the same at every node.
    fn at(&self, node: NodeId) -> Self;

    /// The matrix `name`, or these rows of it.
    ///
    /// # Errors
    /// It cannot be read.
    fn matrix(&self, weights: &Weights, name: &str, rows: Option<&MatrixRows>) -> Result<Self::Matrix>;

    /// Rows `ids` of a table, scaled: `[ids, hidden]`.
    ///
    /// # Errors
    /// The table cannot be read, or has no such row.
    fn embedding(&self, weights: &Weights, embedding: &Embedding, ids: &[u32]) -> Result<Rows>;

    /// A norm of x, as wide as x. Weight and bias are as long as the span that is normed.
    fn norm(&self, x: &Rows, rule: &NormRule, weight: &[f64], bias: Option<&[f64]>) -> Rows;

    /// x Wᵀ + bias, `[rows, in]` → `[rows, out]`.
    ///
    /// # Errors
    /// The product fails.
    fn linear(&self, x: &Rows, matrix: &Self::Matrix, bias: Option<&[f64]>) -> Result<Rows>;

    /// x turned, each row by its position: `[rows, heads * head_dim]`.
    fn rope(&self, x: &Rows, rope: &Rope, at: &Standing) -> Rows;

    /// Scores of queries and keys, −inf where no key is seen: `[queries, heads * slots]`.
    ///
    /// # Errors
    /// The product fails.
    fn scores(&self, q: &Rows, k: &Rows, sight: &Sight, scores: &Scores) -> Result<Rows>;

    /// Softmax of each run of `slots` entries; 0 in a run that is −inf throughout. The queries stand `at` these places.
    fn softmax(&self, scores: &Rows, slots: usize, at: &Standing) -> Rows;

    /// Weighted values, heads side by side: `[queries, heads * head_dim]`.
    ///
    /// # Errors
    /// The product fails.
    fn context(&self, probs: &Rows, v: &Rows, sight: &Sight, context: &Context) -> Result<Rows>;

    /// A function of each entry.
    fn activation(&self, x: &Rows, activation: Activation) -> Rows;

    /// a · b, entry by entry.
    fn product(&self, a: &Rows, b: &Rows) -> Rows;

    /// Σ factor · term, entry by entry. There is at least one term.
    fn weighted_sum(&self, terms: &[(f64, &Rows)]) -> Rows;

    /// cap · tanh(x / cap) of each entry.
    fn softcap(&self, x: &Rows, cap: f64) -> Rows;

    /// factor · x.
    fn scale(&self, x: &Rows, factor: f64) -> Rows;
}

/// An arithmetic that multiplies with matrices of floats.
pub trait Floats: Arithmetic {
    /// A matrix `[out, in]` in float32 as this arithmetic multiplies with it.
    ///
    /// # Errors
    /// It is no matrix.
    fn of_floats(&self, matrix: &Tensor) -> Result<Self::Matrix>;
}
