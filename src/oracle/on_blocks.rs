//! Arithmetic for quantised files: matrix products on their blocks.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Tensor;

use super::arithmetic::{Arithmetic, Floats};
use super::blocks::{Blocks, Kernel};
use super::exact::Exact;
use super::linear::rows_of;
use super::precision::Precision;
use super::rounded::Rounded;
use super::rows::Rows;
use super::sight::{RowPlaces, Sight};
use crate::Result;
use crate::graph::{Activation, Context, Embedding, MatrixRows, NodeId, NormRule, Rope, Scores};
use crate::probe;
use crate::weights::Weights;

/// An arithmetic that rounds the input rows of a product to 8 bits if the matrix is stored in blocks. A file
/// can mix types, so this is decided for each matrix: inputs of a matrix that is stored in floats are not
/// rounded.
#[derive(Clone, Copy, Debug)]
pub struct OnBlocks<'a, A> {
    /// Carries out all other operations.
    within: A,
    /// Multiplies the rounded rows with the dequantised matrix.
    product: A,
    kernel: Kernel,
    arithmetic: probe::Arithmetic,
    read: &'a LastRead,
}

/// A matrix, and its blocks if the product uses them.
#[derive(Clone, Debug)]
pub struct BlockMatrix {
    /// The matrix, dequantised, `[out, in]` in float32.
    pub matrix: Tensor,
    /// How rows are rounded before the product.
    pub blocks: Option<Arc<Blocks>>,
}

/// The number of matrix entries that are prepared for a product at once.
const PART: usize = 1 << 20;

/// A cache of the most recently read matrix, so that several arithmetics that need it in turn read it only
/// once.
#[derive(Debug, Default)]
pub struct LastRead(Mutex<Option<ReadWeights>>);

#[derive(Clone, Debug)]
struct ReadWeights {
    name: String,
    arithmetic: probe::Arithmetic,
    /// `[out, in]` in float32.
    matrix: Tensor,
    blocks: Option<Arc<Blocks>>,
}

impl LastRead {
    fn read(&self, weights: &Weights, name: &str, arithmetic: probe::Arithmetic) -> Result<ReadWeights> {
        // The lock is held while a matrix is read, so that threads that want the same one read it once.
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(read) = last.as_ref().filter(|last| last.name == name && last.arithmetic == arithmetic) {
            return Ok(read.clone()); // shares the tensor
        }
        *last = None; // frees the earlier matrix before this one is read
        let read = ReadWeights {
            name: name.to_owned(),
            arithmetic,
            matrix: weights.canonical(name)?,
            blocks: Blocks::of(weights, name, arithmetic)?.map(Arc::new),
        };
        Ok(last.insert(read).clone())
    }
}

impl<'a> OnBlocks<'a, Exact> {
    /// Float64, except that input rows of a product are rounded as ggml's portable code does. With
    /// [`probe::Arithmetic::Dense`] no rows are rounded.
    pub const fn exact(arithmetic: probe::Arithmetic, read: &'a LastRead) -> Self {
        Self { within: Exact, product: Exact, kernel: Kernel::Portable, arithmetic, read }
    }
}

impl<'a> OnBlocks<'a, Rounded> {
    /// The same in rounded arithmetic. Odd runs round rows as ggml's code for vector registers does. A product with
    /// blocks is summed in float32 from dequantised weights, for every dtype.
    pub const fn rounded(arithmetic: probe::Arithmetic, rounded: Rounded, read: &'a LastRead) -> Self {
        let kernel = if rounded.run.is_multiple_of(2) { Kernel::Portable } else { Kernel::Vector };
        let product = Rounded { precision: Precision::F32, ..rounded };
        Self { within: rounded, product, kernel, arithmetic, read }
    }
}

impl<A: Floats> OnBlocks<'_, A> {
    /// x Wᵀ + bias, `[rows, in]` → `[rows, out]`, one part of the matrix at a time, because a converted copy
    /// of a whole output matrix would need more memory than the rest of the computation.
    fn by_parts(&self, by: &A, x: &Rows, matrix: &Tensor, bias: Option<&[f64]>) -> Result<Rows> {
        let (out, width) = matrix.dims2()?;
        let at_once = (PART / width.max(1)).max(1);
        let mut y = Rows { width: out, values: vec![0.0; x.len() * out] }; // [rows, out]
        for start in (0..out).step_by(at_once) {
            let end = out.min(start + at_once);
            let part = by.of_floats(&matrix.narrow(0, start, end - start)?)?; // [part, in]
            let part = by.linear(x, &part, bias.map(|bias| &bias[start..end]))?; // [rows, part]
            for (y, part) in y.values.chunks_exact_mut(out).zip(part.iter()) {
                y[start..end].copy_from_slice(part);
            }
        }
        Ok(y)
    }
}

impl<A: Floats> Arithmetic for OnBlocks<'_, A> {
    type Matrix = BlockMatrix;

    fn at(&self, node: NodeId) -> Self {
        Self { within: self.within.at(node), product: self.product.at(node), ..*self }
    }

    fn matrix(&self, weights: &Weights, name: &str, rows: Option<&MatrixRows>) -> Result<BlockMatrix> {
        let ReadWeights { mut matrix, mut blocks, .. } = self.read.read(weights, name, self.arithmetic)?; // [all, in]
        if let Some(rows) = rows {
            matrix = rows_of(&matrix, rows)?; // [out, in]
            blocks = blocks.map(|blocks| Arc::new(blocks.only(rows)));
        }
        Ok(BlockMatrix { matrix, blocks })
    }

    fn linear(&self, x: &Rows, matrix: &BlockMatrix, bias: Option<&[f64]>) -> Result<Rows> {
        let BlockMatrix { matrix, blocks } = matrix;
        let Some(blocks) = blocks else { return self.by_parts(&self.within, x, matrix, bias) };
        let (x, added) = blocks.rounded(x, self.kernel); // [rows, in], [rows, out]
        let mut y = self.by_parts(&self.product, &x, matrix, bias)?; // [rows, out]
        if let Some(added) = added {
            y = self.product.weighted_sum(&[(1.0, &y), (1.0, &added)]);
        }
        Ok(self.within.scale(&y, 1.0)) // in the dtype of the model
    }

    fn embedding(&self, weights: &Weights, embedding: &Embedding, ids: &[u32]) -> Result<Rows> {
        self.within.embedding(weights, embedding, ids)
    }

    fn norm(&self, x: &Rows, rule: &NormRule, weight: &[f64], bias: Option<&[f64]>) -> Rows {
        self.within.norm(x, rule, weight, bias)
    }

    fn rope(&self, x: &Rows, rope: &Rope, at: &RowPlaces) -> Rows {
        self.within.rope(x, rope, at)
    }

    fn scores(&self, q: &Rows, k: &Rows, sight: &Sight, scores: &Scores) -> Result<Rows> {
        self.within.scores(q, k, sight, scores)
    }

    fn softmax(&self, scores: &Rows, slots: usize, at: &RowPlaces) -> Rows {
        self.within.softmax(scores, slots, at)
    }

    fn context(&self, probs: &Rows, v: &Rows, sight: &Sight, context: &Context) -> Result<Rows> {
        self.within.context(probs, v, sight, context)
    }

    fn in_one_pass(&self, scores: &Rows, v: &Rows, sight: &Sight, context: &Context) -> Option<Rows> {
        self.within.in_one_pass(scores, v, sight, context)
    }

    fn activation(&self, x: &Rows, activation: Activation) -> Rows {
        self.within.activation(x, activation)
    }

    fn product(&self, a: &Rows, b: &Rows) -> Rows {
        self.within.product(a, b)
    }

    fn weighted_sum(&self, terms: &[(f64, &Rows)]) -> Rows {
        self.within.weighted_sum(terms)
    }

    fn softcap(&self, x: &Rows, cap: f64) -> Rows {
        self.within.softcap(x, cap)
    }

    fn scale(&self, x: &Rows, factor: f64) -> Rows {
        self.within.scale(x, factor)
    }
}
