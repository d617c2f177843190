//! Rounded arithmetic: computes as PyTorch does in a given dtype, with sums in one of several orders.

use candle_core::{DType, Device, Tensor};

use super::arithmetic::{Arithmetic, Floats};
use super::frequencies::single_frequencies;
use super::linear::rows_of;
use super::precision::Precision;
use super::reordered::{Summation, product};
use super::rescaled::{self, Recipe};
use super::rounded_attention::{mixed, query_key};
use super::rows::Rows;
use super::sight::{RowPlaces, Sight};
use crate::Result;
use crate::graph::{
    Activation, Context, Embedding, EpsPlace, Gain, MatrixRows, NodeId, NormCast, NormRule, Pairing, Rope,
    RopeCast, Scores, Statistic,
};
use crate::weights::Weights;

/// Computes in float32 within an operation and rounds to `precision` at the operation's cast points; see
/// [`Cast`](crate::graph::Cast).
#[derive(Clone, Copy, Debug)]
pub struct Rounded {
    /// The dtype of the model.
    pub precision: Precision,
    /// The number of the summation order, below [`ORDERS`](super::ORDERS); 0 is the plain order.
    pub run: usize,
}

impl Rounded {
    fn low(&self, value: f32) -> f32 {
        self.precision.round(value)
    }

    fn each(&self, x: &Rows, of: impl Fn(f32) -> f32) -> Rows {
        self.precision.write(x.width, self.precision.read(&x.values).into_iter().map(of))
    }

    fn capped(&self, x: f32, cap: f32) -> f32 {
        cap * self.low(self.low(x / cap).tanh())
    }
}

impl Arithmetic for Rounded {
    /// `[out, in]`, float32, with rounded entries.
    type Matrix = Tensor;

    fn at(&self, _: NodeId) -> Self {
        *self
    }

    fn matrix(&self, weights: &Weights, name: &str, rows: Option<&MatrixRows>) -> Result<Tensor> {
        let whole = weights.canonical(name)?; // [all, in]
        let used = match rows {
            None => whole,
            Some(rows) => rows_of(&whole, rows)?,
        };
        self.of_floats(&used)
    }

    fn embedding(&self, weights: &Weights, embedding: &Embedding, ids: &[u32]) -> Result<Rows> {
        let rows = weights.canonical_rows(&embedding.weight, ids)?; // [ids, hidden]
        let (_, width) = rows.dims2()?;
        let (values, scale) = (rows.flatten_all()?.to_vec1::<f32>()?, self.low(embedding.scale as f32));
        Ok(self.precision.write(width, values.into_iter().map(|value| self.low(value) * scale)))
    }

    fn norm(&self, x: &Rows, rule: &NormRule, weight: &[f64], bias: Option<&[f64]>) -> Rows {
        let width = rule.run(x.width);
        let (weight, bias) = (self.precision.read(weight), bias.map(|bias| self.precision.read(bias)));
        let (mut values, eps) = (self.precision.read(&x.values), rule.eps as f32);
        let sum = Summation::new(self.run, width);
        for row in values.chunks_exact_mut(width) {
            match rule.statistic {
                Statistic::MeanSquare => {}
                Statistic::Variance => {
                    let mean = sum.of(row) / width as f32;
                    row.iter_mut().for_each(|x| *x -= mean);
                }
            }
            let squares: Vec<f32> = row.iter().map(|x| x * x).collect();
            let mean = sum.of(&squares) / width as f32;
            let factor = match rule.eps_place {
                EpsPlace::InsideRoot => 1.0 / (mean + eps).sqrt(),
                EpsPlace::OutsideRoot => 1.0 / (mean.sqrt() + eps),
            };
            for (j, x) in row.iter_mut().enumerate() {
                let normed = match rule.cast {
                    NormCast::BeforeWeight => self.low(*x * factor),
                    NormCast::AfterWeight => *x * factor,
                };
                let gain = match rule.gain {
                    Gain::Weight => weight[j],
                    Gain::OnePlusWeight => 1.0 + weight[j],
                };
                *x = normed * gain + bias.as_ref().map_or(0.0, |bias| bias[j]);
            }
        }
        self.precision.write(x.width, values)
    }

    fn linear(&self, x: &Rows, matrix: &Tensor, bias: Option<&[f64]>) -> Result<Rows> {
        let (out, width) = matrix.dims2()?;
        let x = Tensor::from_vec(self.precision.read(&x.values), (x.len(), width), &Device::Cpu)?; // [rows, in]
        let mut values = product(self.run, &x, matrix)?.flatten_all()?.to_vec1::<f32>()?; // [rows, out]
        if let Some(bias) = bias.map(|bias| self.precision.read(bias)) {
            for row in values.chunks_exact_mut(out) {
                row.iter_mut().zip(&bias).for_each(|(x, b)| *x = self.low(*x) + b);
            }
        }
        Ok(self.precision.write(out, values))
    }

    fn rope(&self, x: &Rows, rope: &Rope, at: &RowPlaces) -> Rows {
        let (half, width) = (rope.turned / 2, x.width);
        let frequencies = single_frequencies(&rope.law, half); // [turned/2]
        let (values, magnitude) = (self.precision.read(&x.values), rope.magnitude as f32);
        let entry = |(n, &x): (usize, &f32)| {
            let j = n % rope.head_dim; // every row is a whole number of heads
            if j >= rope.turned {
                return x;
            }
            // The pair, the index of its other element, and whether this is its first element.
            let (pair, other, first) = match rope.pairing {
                Pairing::Halves if j < half => (j, n + half, true),
                Pairing::Halves => (j - half, n - half, false),
                Pairing::Neighbours if j.is_multiple_of(2) => (j / 2, n + 1, true),
                Pairing::Neighbours => (j / 2, n - 1, false),
            };
            let (sin, cos) = (at.position(n / width) as f32 * frequencies[pair]).sin_cos();
            let across = if first { -values[other] } else { values[other] };
            match rope.cast {
                RopeCast::EveryStep => {
                    let (sin, cos) = (self.low(sin * magnitude), self.low(cos * magnitude));
                    self.low(x * cos) + self.low(across * sin)
                }
                RopeCast::Sum => x * (cos * magnitude) + across * (sin * magnitude),
            }
        };
        self.precision.write(width, values.iter().enumerate().map(entry))
    }

    fn scores(&self, q: &Rows, k: &Rows, sight: &Sight, scores: &Scores) -> Result<Rows> {
        let (width, slots) = (scores.heads.len() * sight.keys.len(), sight.keys.len());
        let products = query_key(self.precision, self.run, q, k, sight, scores)?; // [queries, heads * slots]
        let entry = |(n, product): (usize, f32)| {
            let (query, slot) = (n / width, n % slots);
            if sight.keys.at(sight.queries[query].0, slot).is_none() || !sight.sees(scores.mask, query, slot)
            {
                return f32::NEG_INFINITY;
            }
            let scaled = self.low(product) * scores.scale as f32;
            scores.softcap.map_or(scaled, |cap| self.capped(self.low(scaled), cap as f32))
        };
        Ok(self.precision.write(width, products.into_iter().enumerate().map(entry)))
    }

    fn softmax(&self, scores: &Rows, slots: usize, _: &RowPlaces) -> Rows {
        let mut values = self.precision.read(&scores.values); // [queries, heads * slots]
        let sum = Summation::new(self.run, slots);
        for run in values.chunks_exact_mut(slots) {
            let largest = run.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            if largest == f32::NEG_INFINITY {
                run.fill(0.0);
                continue;
            }
            run.iter_mut().for_each(|x| *x = (*x - largest).exp());
            let total = sum.of(run);
            run.iter_mut().for_each(|x| *x /= total);
        }
        self.precision.write(scores.width, values)
    }

    fn context(&self, probs: &Rows, v: &Rows, sight: &Sight, context: &Context) -> Result<Rows> {
        let values = mixed(self.precision, self.run, probs, v, sight, context)?; // [queries, heads * head_dim]
        Ok(self.precision.write(context.heads.len() * context.head_dim, values))
    }

    fn in_one_pass(&self, scores: &Rows, v: &Rows, sight: &Sight, context: &Context) -> Option<Rows> {
        let recipe = Recipe::of(self.run)?;
        Some(rescaled::attend(self.precision, recipe, scores, v, sight, context))
    }

    fn activation(&self, x: &Rows, activation: Activation) -> Rows {
        match activation {
            Activation::Silu => self.each(x, |x| x / (1.0 + (-x).exp())),
            Activation::GeluTanh => self.each(x, |x| {
                let inner = (2.0 / std::f32::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
                0.5 * x * (1.0 + inner.tanh())
            }),
        }
    }

    fn product(&self, a: &Rows, b: &Rows) -> Rows {
        let (left, right) = (self.precision.read(&a.values), self.precision.read(&b.values));
        self.precision.write(a.width, left.into_iter().zip(right).map(|(a, b)| a * b))
    }

    fn weighted_sum(&self, terms: &[(f64, &Rows)]) -> Rows {
        let read = |&(factor, term): &(f64, &Rows)| self.scale(term, factor);
        let scaled: Vec<Rows> = terms.iter().map(read).collect();
        let (first, rest) = match scaled.split_first() {
            Some((first, rest)) => (first.clone(), rest),
            None => return Rows { width: 1, values: Vec::new() },
        };
        rest.iter().fold(first, |total, term| {
            let sums = total.values.iter().zip(&term.values).map(|(&a, &b)| a as f32 + b as f32);
            self.precision.write(total.width, sums.collect::<Vec<f32>>())
        })
    }

    fn softcap(&self, x: &Rows, cap: f64) -> Rows {
        self.each(x, |x| self.capped(x, cap as f32))
    }

    fn scale(&self, x: &Rows, factor: f64) -> Rows {
        self.each(x, |x| x * factor as f32)
    }
}

impl Floats for Rounded {
    fn of_floats(&self, matrix: &Tensor) -> Result<Tensor> {
        matrix.dims2()?;
        let dtype = match self.precision {
            Precision::F32 => DType::F32,
            Precision::Bf16 => DType::BF16,
            Precision::F16 => DType::F16,
        };
        Ok(matrix.to_dtype(dtype)?.to_dtype(DType::F32)?)
    }
}
