//! Exact arithmetic: float64, nothing rounded on the way.

use std::ops::Range;

use super::arithmetic::Arithmetic;
use super::attention::{self, Heads};
use super::elementwise::{gated, silu};
use super::frequencies::frequencies;
use super::linear::{self, Matrix};
use super::norm::{mean_square, rms_norm};
use super::rope::{self, rotate};
use super::rows::Rows;
use super::sight::Sight;
use crate::Result;
use crate::graph::{
    Activation, Context, Embedding, EpsPlace, Gain, NormRule, NormSpan, Pairing, Rope, Scores, Statistic,
};
use crate::weights::Weights;

/// Float64 on the CPU. Cast points do nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exact;

impl Arithmetic for Exact {
    type Matrix = Matrix;

    fn matrix(&self, weights: &Weights, name: &str, rows: Option<&Range<usize>>) -> Result<Matrix> {
        match rows {
            None => Matrix::read(weights, name),
            Some(rows) => Matrix::read_rows(weights, name, &numbers(rows.clone())),
        }
    }

    fn embedding(&self, weights: &Weights, embedding: &Embedding, ids: &[u32]) -> Result<Rows> {
        let table = Matrix::read_rows(weights, &embedding.weight, ids)?; // [ids, hidden]
        let rows = table.rows(&numbers(0..ids.len()))?; // [ids, hidden]
        Ok(self.scale(&rows, embedding.scale))
    }

    fn norm(&self, x: &Rows, rule: &NormRule, weight: &[f64], bias: Option<&[f64]>) -> Rows {
        let width = match rule.span {
            NormSpan::Row => x.width,
            NormSpan::Head { head_dim } => head_dim,
        };
        let mut runs = Rows { width, values: x.values.clone() }; // [rows * heads, width]
        match rule.statistic {
            Statistic::MeanSquare => {}
            Statistic::Variance => centre(&mut runs),
        }
        let gain: Vec<f64> = match rule.gain {
            Gain::Weight => weight.to_vec(),
            Gain::OnePlusWeight => weight.iter().map(|w| 1.0 + w).collect(),
        }; // [width]
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

    fn rope(&self, x: &Rows, rope: &Rope, positions: &[usize]) -> Rows {
        let Rope { head_dim, turned, magnitude, .. } = *rope;
        let pairing = match rope.pairing {
            Pairing::Halves => rope::Pairing::Halves,
            Pairing::Neighbours => rope::Pairing::Neighbours,
        };
        let frequencies = frequencies(&rope.law, turned / 2); // [turned/2]
        let turn = |r: usize, i: usize| {
            let (sin, cos) = (positions[r] as f64 * frequencies[i]).sin_cos();
            (sin * magnitude, cos * magnitude)
        };
        let heads = x.width / head_dim;
        let part = x.columns(heads * turned, |j| j / turned * head_dim + j % turned); // [rows, heads * turned]
        let part = rotate(&part, &pairing.pairs(turned), turn); // [rows, heads * turned]
        Rows::from_fn(x.len(), x.width, |r, j| match (j / head_dim, j % head_dim) {
            (head, j) if j < turned => part.row(r)[head * turned + j],
            _ => x.row(r)[j],
        })
    }

    fn scores(&self, q: &Rows, k: &Rows, sight: &Sight, scores: &Scores) -> Result<Rows> {
        let Scores { head_dim, scale, softcap, mask, .. } = *scores;
        let heads = Heads { looks_at: scores.heads.to_vec(), head_dim, scale };
        let sees = |query: usize, _, slot: usize| sight.sees(mask, query, slot);
        let mut rows = attention::scores(q, k, &sight.batch(), sight.keys, &heads, sees); // [queries, heads * slots]
        if let Some(cap) = softcap {
            let allowed = rows.values.iter_mut().filter(|x| **x != f64::NEG_INFINITY);
            allowed.for_each(|x| *x = capped(*x, cap));
        }
        Ok(rows)
    }

    fn softmax(&self, scores: &Rows, slots: usize) -> Rows {
        attention::softmax(scores, slots)
    }

    fn context(&self, probs: &Rows, v: &Rows, sight: &Sight, context: &Context) -> Result<Rows> {
        let heads = Heads { looks_at: context.heads.to_vec(), head_dim: context.head_dim, scale: 1.0 };
        Ok(attention::context(probs, v, &sight.batch(), sight.keys, &heads))
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
        each(x, |x| capped(x, cap))
    }

    fn scale(&self, x: &Rows, factor: f64) -> Rows {
        each(x, |x| x * factor)
    }
}

/// x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³))) (Hendrycks and Gimpel, 2016).
fn gelu_tanh(x: f64) -> f64 {
    let inner = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
    0.5 * x * (1.0 + (inner * (x + 0.044715 * x * x * x)).tanh())
}

/// cap · tanh(x / cap) (Bello et al., 2016; Gemma 2).
fn capped(x: f64, cap: f64) -> f64 {
    cap * (x / cap).tanh()
}

/// `of` each entry.
fn each(x: &Rows, of: impl Fn(f64) -> f64) -> Rows {
    Rows { width: x.width, values: x.values.iter().map(|&x| of(x)).collect() }
}

/// Subtracts from each row its mean.
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

/// Row numbers. A matrix has fewer than 2³² rows.
fn numbers(rows: Range<usize>) -> Vec<u32> {
    rows.map(|row| u32::try_from(row).unwrap_or(u32::MAX)).collect()
}
