//! Computes, in float64, what a port with given deviations computes.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::deviation::{Deviation, Function, LookUp, NormForm};
use super::matrices::Matrices;
use crate::Result;
use crate::graph::{Activation, Context, Embedding, Gain, MatrixRows, NodeId, NormRule, Rope, Scores};
use crate::oracle::{
    Arithmetic, BlockMatrix, Exact, Matrix, RowPlaces, Rows, Sight, Slot, frequencies, rotate,
};
use crate::probe;
use crate::weights::Weights;

/// The last deviation of one kind, if there is one.
macro_rules! last {
    ($deviated:expr, $kind:ident) => {
        $deviated.deviations.iter().rev().find_map(|deviation| match deviation {
            Deviation::$kind(how) => Some(how),
            _ => None,
        })
    };
}

mod attend;

/// Float64 arithmetic with deviations at some nodes. Deviations that change a node's parameters are already
/// in the graph.
#[derive(Clone, Copy)]
pub(super) struct Deviated<'a> {
    pub deviations: &'a [Deviation],
    /// The nodes where the deviations apply.
    pub nodes: &'a BTreeSet<NodeId>,
    pub matrices: &'a Matrices,
    /// The arithmetic of matrix products.
    pub arithmetic: probe::Arithmetic,
}

impl Deviated<'_> {
    /// Input `n` as the port reads it.
    fn reads<'x>(&self, n: usize, x: &'x Rows) -> Cow<'x, Rows> {
        let mut read = Cow::Borrowed(x);
        for deviation in self.deviations {
            if let Deviation::Input { n: own, change } = deviation
                && *own == n
            {
                read = Cow::Owned(change.of(&read));
            }
        }
        read
    }

    /// The result as the port returns it.
    fn returns(&self, rows: Rows) -> Rows {
        let changed = |rows: Rows, deviation: &Deviation| match deviation {
            Deviation::Output(change) => change.of(&rows),
            _ => rows,
        };
        self.deviations.iter().fold(rows, changed)
    }
}

impl Arithmetic for Deviated<'_> {
    type Matrix = BlockMatrix;

    fn at(&self, node: NodeId) -> Self {
        if self.nodes.contains(&node) { *self } else { Self { deviations: &[], ..*self } }
    }

    /// A matrix that a deviation changed has no quantised blocks.
    fn matrix(&self, weights: &Weights, name: &str, rows: Option<&MatrixRows>) -> Result<Self::Matrix> {
        let read =
            |name: &str, rows: Option<&MatrixRows>| self.matrices.read(weights, name, rows, self.arithmetic);
        let right = read(name, rows)?;
        let module = last!(self, Module).map(|module| &module.reading);
        let (reading, low) = (last!(self, Matrix).or(module), last!(self, LowFactors));
        if reading.is_none() && low.is_none() {
            return Ok(right);
        }
        let mut matrix = Matrix::of(&right.matrix)?;
        if let Some(reading) = reading {
            let others = |name: &str, rows: &[u32]| {
                Matrix::of(&read(name, Some(&MatrixRows::Listed(rows.to_vec())))?.matrix)
            };
            matrix = reading.of(matrix, &others)?;
        }
        if let Some(low) = low {
            matrix = matrix.map(|v| low.round(v))?;
        }
        Ok(BlockMatrix { matrix: matrix.floats()?, blocks: None })
    }

    fn embedding(&self, weights: &Weights, embedding: &Embedding, ids: &[u32]) -> Result<Rows> {
        let vocab = weights.shape(&embedding.weight).map_or(0, |shape| shape[0]);
        let rows = match last!(self, LookUp) {
            None => Exact.embedding(weights, embedding, ids)?,
            Some(LookUp::ColumnMajor) => {
                let table = Matrix::read(weights, &embedding.weight)?.read_as_transposed()?;
                Exact.scale(&table.rows(ids)?, embedding.scale)
            }
            Some(other) => Exact.embedding(weights, embedding, &other.of(ids, vocab))?,
        };
        Ok(self.returns(rows))
    }

    fn norm(&self, x: &Rows, rule: &NormRule, weight: &[f64], bias: Option<&[f64]>) -> Rows {
        let gain = rule.gain(weight); // [run]
        let gain = last!(self, NormWeight).map_or_else(|| gain.clone(), |other| other.of(&gain));
        let (x, plain) = (&*self.reads(0, x), NormRule { gain: Gain::Weight, ..*rule });
        let run = rule.run(x.width);
        let runs = || Rows::new(run, x.values.clone()); // [rows * runs, run]
        let normed = match (last!(self, LowNorm), last!(self, NormForm)) {
            (Some(low), _) => low.norm(&runs(), &gain, rule.eps),
            (None, Some(NormForm::WholeRow)) => {
                NormForm::WholeRow.norm(x, &gain.repeat(x.width / run), rule.eps)
            }
            (None, Some(form)) => form.norm(&runs(), &gain, rule.eps),
            (None, None) => Exact.norm(x, &plain, &gain, bias),
        };
        self.returns(Rows::new(x.width, normed.values))
    }

    fn linear(&self, x: &Rows, matrix: &Self::Matrix, bias: Option<&[f64]>) -> Result<Rows> {
        let exact = self.matrices.exact(self.arithmetic);
        let x = &*self.reads(0, x);
        let y = match last!(self, LowFactors) {
            None => exact.linear(x, matrix, bias)?,
            Some(low) => {
                let x = Rows::from_fn(x.len(), x.width, |r, j| low.round(x.row(r)[j]));
                exact.linear(&x, matrix, bias)?
            }
        };
        let more = last!(self, Bias).or(last!(self, Module).map(|module| &module.bias));
        Ok(self.returns(match more {
            Some(bias) if bias.len() == y.width => {
                Rows::from_fn(y.len(), y.width, |r, j| y.row(r)[j] + bias[j])
            }
            _ => y,
        }))
    }

    fn rope(&self, x: &Rows, rope: &Rope, at: &RowPlaces) -> Rows {
        let frequencies = frequencies(&rope.law, rope.turned / 2); // [turned/2]
        let pairs = last!(self, Pairs).cloned().unwrap_or_else(|| rope.pairing.pairs(rope.turned));
        let positions = last!(self, Positions);
        let low = last!(self, LowTables);
        let positions: Vec<f64> =
            (0..x.len()).map(|r| positions.map_or(at.position(r) as f64, |law| law.of(at, r))).collect(); // [rows]
        let x = &*self.reads(0, x);
        if let Some(turn) = last!(self, Turn) {
            return self.returns(turn.rotate(x, rope, &pairs, &positions, &frequencies));
        }
        self.returns(rotate(x, rope.head_dim, &pairs, |r, i| {
            let (sin, cos) = match low {
                None => (positions[r] * frequencies[i]).sin_cos(),
                Some(low) => low.sin_cos(positions[r], frequencies[i]),
            };
            (sin * rope.magnitude, cos * rope.magnitude)
        }))
    }

    fn scores(&self, q: &Rows, k: &Rows, sight: &Sight, scores: &Scores) -> Result<Rows> {
        Ok(self.masked_scores(q, k, sight, scores))
    }

    fn softmax(&self, scores: &Rows, slots: usize, at: &RowPlaces) -> Rows {
        self.weights(scores, slots, at)
    }

    fn context(&self, probs: &Rows, v: &Rows, sight: &Sight, context: &Context) -> Result<Rows> {
        self.weighted_values(probs, v, sight, context)
    }

    fn activation(&self, x: &Rows, activation: Activation) -> Rows {
        let x = &*self.reads(0, x);
        let each = |of: &dyn Fn(f64) -> f64| Rows::new(x.width, x.values.iter().map(|&x| of(x)).collect());
        self.returns(if let Some(low) = last!(self, LowGate) {
            each(&|x| low.activation(activation, x))
        } else if let Some(function) = last!(self, Gate) {
            each(&|x| function.of(x))
        } else if let Some(cancelling) = last!(self, Cancelling) {
            each(&|x| cancelling.silu(x))
        } else if self.deviations.contains(&Deviation::GateInside) {
            x.clone()
        } else {
            Exact.activation(x, activation)
        })
    }

    fn product(&self, a: &Rows, b: &Rows) -> Rows {
        let (a, b) = (&*self.reads(0, a), &*self.reads(1, b));
        let each = |of: &dyn Fn(f64, f64) -> f64| {
            Rows::from_fn(a.len(), a.width, |r, j| of(a.row(r)[j], b.row(r)[j]))
        };
        self.returns(if let Some(low) = last!(self, LowGate) {
            each(&|a, b| low.product(a, b))
        } else if self.deviations.contains(&Deviation::GateAdded) {
            each(&|a, b| a + b)
        } else if self.deviations.contains(&Deviation::GateInside) {
            each(&|a, b| Function::Silu.of(a * b))
        } else {
            Exact.product(a, b)
        })
    }

    fn weighted_sum(&self, terms: &[(f64, &Rows)]) -> Rows {
        let read: Vec<Cow<'_, Rows>> =
            terms.iter().enumerate().map(|(n, (_, term))| self.reads(n, term)).collect();
        let terms: Vec<(f64, &Rows)> =
            terms.iter().zip(&read).map(|((by, _), term)| (*by, &**term)).collect();
        self.returns(Exact.weighted_sum(&terms))
    }

    fn softcap(&self, x: &Rows, cap: f64) -> Rows {
        self.returns(Exact.softcap(&self.reads(0, x), cap))
    }

    fn scale(&self, x: &Rows, factor: f64) -> Rows {
        Exact.scale(x, factor)
    }
}

/// Whether the slot contains no token that any query may see.
pub(super) fn is_padding(slot: Option<Slot>) -> bool {
    matches!(slot, Some(Slot::Padding(_) | Slot::Unknown))
}
