//! Computes, in float64, what a port with given deviations computes.

use std::collections::BTreeSet;

use super::deviation::{Deviation, Leaks, MaskValue, Sees};
use super::matrices::Matrices;
use crate::Result;
use crate::graph::{Activation, Context, Embedding, MatrixRows, NodeId, NormRule, Rope, Scores};
use crate::oracle::{
    self, Arithmetic, BlockMatrix, Exact, Matrix, RowPlaces, Rows, Sight, Slot, Slots, frequencies, rotate,
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
    fn misread(&self, x: &Rows, head_dim: usize) -> Option<Rows> {
        last!(self, Misread).map(|how| how.read(x, head_dim))
    }

    fn leaks(&self) -> Option<Leaks> {
        last!(self, Leaks).copied()
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
        let (reading, low) = (last!(self, Matrix), last!(self, LowFactors));
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
        Exact.embedding(weights, embedding, ids)
    }

    fn norm(&self, x: &Rows, rule: &NormRule, weight: &[f64], bias: Option<&[f64]>) -> Rows {
        let other = last!(self, NormWeight);
        let weight = other.map_or_else(|| weight.to_vec(), |other| other.of(weight));
        match last!(self, LowNorm) {
            None => Exact.norm(x, rule, &weight, bias),
            Some(low) => low.norm(x, &weight, rule.eps),
        }
    }

    fn linear(&self, x: &Rows, matrix: &Self::Matrix, bias: Option<&[f64]>) -> Result<Rows> {
        let exact = self.matrices.exact(self.arithmetic);
        let y = match last!(self, LowFactors) {
            None => exact.linear(x, matrix, bias)?,
            Some(low) => {
                let x = Rows::from_fn(x.len(), x.width, |r, j| low.round(x.row(r)[j]));
                exact.linear(&x, matrix, bias)?
            }
        };
        match last!(self, Bias) {
            Some(bias) if bias.len() == y.width => {
                Ok(Rows::from_fn(y.len(), y.width, |r, j| y.row(r)[j] + bias[j]))
            }
            _ => Ok(y),
        }
    }

    fn rope(&self, x: &Rows, rope: &Rope, at: &RowPlaces) -> Rows {
        let frequencies = frequencies(&rope.law, rope.turned / 2); // [turned/2]
        let pairs = last!(self, Pairs).cloned().unwrap_or_else(|| rope.pairing.pairs(rope.turned));
        let positions = last!(self, Positions);
        let low = last!(self, LowTables);
        let positions: Vec<f64> =
            (0..x.len()).map(|r| positions.map_or(at.position(r) as f64, |law| law.of(at, r))).collect(); // [rows]
        rotate(x, rope.head_dim, &pairs, |r, i| {
            let (sin, cos) = match low {
                None => (positions[r] * frequencies[i]).sin_cos(),
                Some(low) => low.sin_cos(positions[r], frequencies[i]),
            };
            (sin * rope.magnitude, cos * rope.magnitude)
        })
    }

    fn scores(&self, q: &Rows, k: &Rows, sight: &Sight, scores: &Scores) -> Result<Rows> {
        let other = last!(self, Sees).copied();
        let sees = |query: usize, _, slot: usize| match other {
            None => sight.sees(scores.mask, query, slot),
            Some(other) => other.sees(sight.pass, scores.mask, sight.queries[query], slot),
        };
        let misread = self.misread(k, scores.head_dim);
        let k = misread.as_ref().unwrap_or(k);
        let mut rows = oracle::scores(q, k, &sight.batch(), sight.keys, scores, sees);
        if let Some(value) = last!(self, MaskValue) {
            let all = oracle::scores(q, k, &sight.batch(), sight.keys, scores, |_, _, _| true);
            for (score, computed) in rows.values.iter_mut().zip(all.values) {
                if *score == f64::NEG_INFINITY {
                    *score = match value {
                        MaskValue::Is(value) => *value,
                        MaskValue::Adds(value) => computed + value,
                    };
                }
            }
        }
        if other == Some(Sees::Pads { zero: true }) {
            let t = sight.keys.len();
            for (n, score) in rows.values.iter_mut().enumerate() {
                let (query, slot) = (n / rows.width, n % t);
                let (batch, own) = sight.queries[query];
                if scores.mask.allows(own, slot) && is_padding(sight.pass.slot((batch, slot))) {
                    *score = 0.0;
                }
            }
        }
        Ok(rows)
    }

    /// As a port computes it: a query that sees no key gets weights of 0 / 0, NaN.
    fn softmax(&self, scores: &Rows, slots: usize, at: &RowPlaces) -> Rows {
        let low = last!(self, LowSoftmax);
        if let Some(low) = low {
            return low.of(scores, slots);
        }
        let Some(leaks) = self.leaks() else {
            let mut probs = oracle::softmax(scores, slots);
            for (run, scores) in probs.values.chunks_exact_mut(slots).zip(scores.values.chunks_exact(slots)) {
                if scores.iter().all(|&s| s == f64::NEG_INFINITY) {
                    run.fill(f64::NAN);
                }
            }
            return probs;
        };
        let leaky = Rows::from_fn(scores.len(), scores.width, |r, j| {
            let (score, (batch, _)) = (scores.row(r)[j], at.places[r]);
            let leaks = leaks == Leaks::All || is_padding(at.pass.slot((batch, j % slots)));
            if score == f64::NEG_INFINITY && leaks { 0.0 } else { score }
        });
        oracle::softmax(&leaky, slots)
    }

    /// Masked keys that leak into the softmax have probability, but no value vector.
    fn context(&self, probs: &Rows, v: &Rows, sight: &Sight, context: &Context) -> Result<Rows> {
        let misread = self.misread(v, context.head_dim);
        let v = misread.as_ref().unwrap_or(v);
        if self.leaks().is_none() {
            return Exact.context(probs, v, sight, context);
        }
        let length = sight.pass.length();
        let places = (0..sight.batch().last().map_or(0, |last| last + 1))
            .flat_map(|batch| (0..length).map(move |slot| (batch, slot)));
        let real: Vec<_> = places.filter(|&place| !is_padding(sight.pass.slot(place))).collect();
        let rows: Vec<_> = real.iter().filter_map(|&(b, slot)| sight.keys.at(b, slot)).collect();
        let places: Vec<_> = real.into_iter().filter(|&(b, slot)| sight.keys.at(b, slot).is_some()).collect();
        let values = Rows::from_fn(rows.len(), v.width, |r, j| v.row(rows[r])[j]); // [real, kv_heads * head_dim]
        let slots = Slots::new(&places, length);
        Exact.context(probs, &values, &Sight { keys: &slots, ..sight.clone() }, context)
    }

    fn activation(&self, x: &Rows, activation: Activation) -> Rows {
        match last!(self, LowGate) {
            None => Exact.activation(x, activation),
            Some(low) => Rows::from_fn(x.len(), x.width, |r, j| low.silu(x.row(r)[j])),
        }
    }

    fn product(&self, a: &Rows, b: &Rows) -> Rows {
        match last!(self, LowGate) {
            None => Exact.product(a, b),
            Some(low) => Rows::from_fn(a.len(), a.width, |r, j| low.product(a.row(r)[j], b.row(r)[j])),
        }
    }

    fn weighted_sum(&self, terms: &[(f64, &Rows)]) -> Rows {
        Exact.weighted_sum(terms)
    }

    fn softcap(&self, x: &Rows, cap: f64) -> Rows {
        Exact.softcap(x, cap)
    }

    fn scale(&self, x: &Rows, factor: f64) -> Rows {
        Exact.scale(x, factor)
    }
}

/// Whether the slot contains no token that any query may see.
pub(super) fn is_padding(slot: Option<Slot>) -> bool {
    matches!(slot, Some(Slot::Padding(_) | Slot::Unknown))
}
