//! Exact arithmetic: float64, with no intermediate rounding to a lower precision.

use std::ops::Range;

use candle_core::Tensor;

use super::arithmetic::{Arithmetic, Floats};
use super::attention::{self, softcapped};
use super::elementwise::{gated, silu};
use super::frequencies::frequencies;
use super::linear::{self, Matrix};
use super::norm::{mean_square, rms_norm};
use super::rope::rotate;
use super::rows::Rows;
use super::sight::{RowPlaces, Sight};
use crate::Result;
use crate::graph::{
    Activation, Context, Embedding, EpsPlace, MatrixRows, NodeId, NormRule, Rope, Scores, Statistic,
};
use crate::weights::Weights;

/// Float64 on the CPU. Cast points do nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exact;

impl Arithmetic for Exact {
    type Matrix = Matrix;

    fn at(&self, _: NodeId) -> Self {
        *self
    }

    fn matrix(&self, weights: &Weights, name: &str, rows: Option<&MatrixRows>) -> Result<Matrix> {
        match rows {
            None => Matrix::read(weights, name),
            Some(rows) => Matrix::read_rows(weights, name, &rows.numbers()),
        }
    }

    fn embedding(&self, weights: &Weights, embedding: &Embedding, ids: &[u32]) -> Result<Rows> {
        let table = Matrix::read_rows(weights, &embedding.weight, ids)?; // [ids, hidden]
        let rows = table.rows(&numbers(0..ids.len()))?; // [ids, hidden]
        Ok(self.scale(&rows, embedding.scale))
    }

    fn norm(&self, x: &Rows, rule: &NormRule, weight: &[f64], bias: Option<&[f64]>) -> Rows {
        let width = rule.run(x.width);
        let mut runs = Rows { width, values: x.values.clone() }; // [rows * heads, width]
        match rule.statistic {
            Statistic::MeanSquare => {}
            Statistic::Variance => centre(&mut runs),
        }
        let gain = rule.gain(weight); // [width]
        let mut normed = match rule.eps_place {
            EpsPlace::InsideRoot => rms_norm(&runs, &gain, rule.eps),
            EpsPlace::OutsideRoot => {
                let divisors: Vec<f64> = runs.iter().map(|row| mean_square(row).sqrt() + rule.eps).collect();
                Rows::from_fn(runs.len(), width, |r, j| runs.row(r)[j] / divisors[r] * gain[j])
            }
        }; // [rows * heads, width]
        add_to_rows(&mut normed, bias);
        Rows { width: x.width, values: normed.values } // [rows, heads * width]
    }

    fn linear(&self, x: &Rows, matrix: &Matrix, bias: Option<&[f64]>) -> Result<Rows> {
        let mut product = linear::linear(x, matrix)?; // [rows, out]
        add_to_rows(&mut product, bias);
        Ok(product)
    }

    fn rope(&self, x: &Rows, rope: &Rope, at: &RowPlaces) -> Rows {
        let frequencies = frequencies(&rope.law, rope.turned / 2); // [turned/2]
        rotate(x, rope.head_dim, &rope.pairing.pairs(rope.turned), |r, i| {
            let (sin, cos) = (at.position(r) as f64 * frequencies[i]).sin_cos();
            (sin * rope.magnitude, cos * rope.magnitude)
        })
    }

    fn scores(&self, q: &Rows, k: &Rows, sight: &Sight, scores: &Scores) -> Result<Rows> {
        let sees = |query: usize, _, slot: usize| sight.sees(scores.mask, query, slot);
        Ok(attention::scores(q, k, &sight.batch(), sight.keys, scores, sees))
    }

    fn softmax(&self, scores: &Rows, slots: usize, _: &RowPlaces) -> Rows {
        attention::softmax(scores, slots)
    }

    fn context(&self, probs: &Rows, v: &Rows, sight: &Sight, context: &Context) -> Result<Rows> {
        Ok(attention::context(probs, v, &sight.batch(), sight.keys, context))
    }

    fn activation(&self, x: &Rows, activation: Activation) -> Rows {
        match activation {
            Activation::Silu => each(x, silu),
            Activation::GeluTanh => each(x, gelu_tanh),
        }
    }

    fn product(&self, a: &Rows, b: &Rows) -> Rows {
        gated(a, b, |x| x)
    }

    fn weighted_sum(&self, terms: &[(f64, &Rows)]) -> Rows {
        let (rows, width) = terms.first().map_or((0, 1), |(_, term)| (term.len(), term.width));
        Rows::from_fn(rows, width, |r, j| terms.iter().map(|(factor, term)| factor * term.row(r)[j]).sum())
    }

    fn softcap(&self, x: &Rows, cap: f64) -> Rows {
        each(x, |x| softcapped(x, cap))
    }

    fn scale(&self, x: &Rows, factor: f64) -> Rows {
        each(x, |x| x * factor)
    }
}

impl Floats for Exact {
    fn of_floats(&self, matrix: &Tensor) -> Result<Matrix> {
        Matrix::of(matrix)
    }
}

/// x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³))) (Hendrycks and Gimpel, 2016).
fn gelu_tanh(x: f64) -> f64 {
    let inner = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
    0.5 * x * (1.0 + (inner * (x + 0.044715 * x * x * x)).tanh())
}

/// Applies `of` to each entry.
fn each(x: &Rows, of: impl Fn(f64) -> f64) -> Rows {
    Rows { width: x.width, values: x.values.iter().map(|&x| of(x)).collect() }
}

/// Subtracts the mean of each row from the row.
fn centre(x: &mut Rows) {
    for row in x.values.chunks_exact_mut(x.width) {
        let mean = row.iter().sum::<f64>() / row.len() as f64;
        row.iter_mut().for_each(|x| *x -= mean);
    }
}

/// Adds a vector to every row, if there is one.
fn add_to_rows(x: &mut Rows, bias: Option<&[f64]>) {
    let Some(bias) = bias else { return };
    for row in x.values.chunks_exact_mut(x.width) {
        row.iter_mut().zip(bias).for_each(|(x, b)| *x += b);
    }
}

/// Row numbers as `u32`. A matrix has fewer than 2³² rows.
fn numbers(rows: Range<usize>) -> Vec<u32> {
    rows.map(|row| u32::try_from(row).unwrap_or(u32::MAX)).collect()
}
