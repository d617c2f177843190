//! What honest arithmetic errs by, measured on the very values that a port recorded: every operation in the
//! port's dtype, in several orders of summation, as PyTorch does it. This is how the references' own noise
//! was measured (`scripts/capture/noise.py`), but for who computes.

use candle_core::{DType, Device, Tensor};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::blocks::Recipe;
use super::operation::{Machine, Placed};
use crate::Result;
use crate::oracle::{Rows, Slots, residual};
use crate::probe::{Kind, Site};
use crate::suspects::round;
use crate::weights::Config;

/// Orders of summation: the plain one, and random ones. One run is too lucky.
pub(super) const ORDERS: usize = 8;

/// The order in which run `n` adds up `count` terms.
fn order(n: usize, count: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count as u32).collect();
    if n > 0 {
        order.shuffle(&mut StdRng::seed_from_u64(n as u64));
    }
    order
}

/// Σ of `terms` in float32, in this order.
fn sum(order: &[u32], term: impl Fn(usize) -> f32) -> f32 {
    order.iter().fold(0.0, |sum, &i| sum + term(i as usize))
}

/// Rows computed in `dtype`; within an operation in float32, as PyTorch does it.
pub(super) struct Rough<'a> {
    pub machine: &'a Machine<'a>,
    pub dtype: DType,
}

impl Rough<'_> {
    /// What run `n` has at `site`, for each n, given what it has at the inputs; nothing where the machine
    /// could not compute it either.
    ///
    /// # Errors
    /// As [`Machine::compute`].
    pub(super) fn compute(&self, site: Site, runs: &[Vec<&Placed>]) -> Result<Option<Vec<Placed>>> {
        let rows = if site.kind.is_product() {
            self.products(site, runs)?
        } else {
            let each = runs.iter().enumerate().map(|(n, inputs)| self.one(site, n, inputs));
            each.collect::<Result<Option<Vec<Rows>>>>()?
        };
        let places = |run: usize| {
            runs[run].first().map_or_else(|| self.machine.tokens.places.clone(), |x| x.places.clone())
        };
        Ok(rows.map(|all| {
            all.into_iter().enumerate().map(|(n, rows)| Placed { rows, places: places(n) }).collect()
        }))
    }

    fn one(&self, site: Site, n: usize, inputs: &[&Placed]) -> Result<Option<Rows>> {
        let config = self.machine.config;
        Ok(match (site.kind, inputs) {
            (Kind::Embed, []) => {
                let exact = self.machine.compute(site, &[])?;
                exact.map(|placed| self.rounded(placed.rows))
            }
            (Kind::InputNorm | Kind::PostNorm | Kind::FinalNorm, [x]) => {
                match self.machine.norm_weight(site)? {
                    Some((weight, eps)) if weight.len() == x.rows.width => {
                        Some(self.norm(n, &x.rows, &weight, eps))
                    }
                    _ => None,
                }
            }
            (Kind::QRope | Kind::KRope, [x]) => config.map(|config| self.rotated(config, x)),
            (Kind::Scores, [q, k]) => config.map(|config| self.scores(n, config, q, k)),
            (Kind::Probs, [x]) => Some(self.softmax(n, &x.rows)),
            (Kind::Context, [probs, v]) => config.map(|config| self.context(n, config, probs, v)),
            (Kind::PostNormInput | Kind::Block, [x, branch]) => {
                Some(self.entries(&x.rows, &branch.rows, |x, branch| x + branch))
            }
            (Kind::Act, [gate, up]) => Some(
                self.entries(&gate.rows, &up.rows, |gate, up| self.low(gate / (1.0 + (-gate).exp())) * up),
            ),
            _ => None,
        })
    }

    fn low(&self, value: f32) -> f32 {
        round(f64::from(value), self.dtype) as f32
    }

    fn rounded(&self, mut rows: Rows) -> Rows {
        rows.values.iter_mut().for_each(|v| *v = round(*v, self.dtype));
        rows
    }

    fn entries(&self, a: &Rows, b: &Rows, of: impl Fn(f32, f32) -> f32) -> Rows {
        Rows::from_fn(a.len(), a.width, |r, j| self.low(of(a.row(r)[j] as f32, b.row(r)[j] as f32)).into())
    }

    fn norm(&self, n: usize, x: &Rows, weight: &[f64], eps: f64) -> Rows {
        let order = order(n, x.width);
        let factor = |row: &[f64]| {
            let squares = sum(&order, |j| (row[j] as f32) * (row[j] as f32));
            1.0 / (squares / x.width as f32 + eps as f32).sqrt()
        };
        let factors: Vec<f32> = x.iter().map(factor).collect();
        Rows::from_fn(x.len(), x.width, |r, j| {
            let normed = self.low(x.row(r)[j] as f32 * factors[r]);
            self.low(normed * self.low(weight[j] as f32)).into()
        })
    }

    fn rotated(&self, config: &Config, x: &Placed) -> Rows {
        let (d, half) = (config.head_dim, config.head_dim / 2);
        let positions = self.machine.tokens.at(&x.places).positions;
        Rows::from_fn(x.rows.len(), x.rows.width, |r, column| {
            let (head, j) = (column / d * d, column % d);
            let pair = j % half;
            let frequency = 1.0 / (config.rope_theta as f32).powf(2.0 * pair as f32 / d as f32);
            let (sin, cos) = (positions[r] as f32 * frequency).sin_cos();
            let row = |j: usize| x.rows.row(r)[head + j] as f32;
            let other = if j < half { -row(j + half) } else { row(j - half) };
            let (turned, across) = (self.low(row(j) * self.low(cos)), self.low(other * self.low(sin)));
            self.low(turned + across).into()
        })
    }

    fn scores(&self, n: usize, config: &Config, q: &Placed, k: &Placed) -> Rows {
        let (d, t) = (config.head_dim, self.machine.tokens.length);
        let group = config.num_attention_heads / config.num_key_value_heads;
        let (order, slots) = (order(n, d), Slots::new(&k.places, t));
        let scale = 1.0 / (d as f32).sqrt();
        Rows::from_fn(q.rows.len(), config.num_attention_heads * t, |r, column| {
            let (head, slot) = (column / t, column % t);
            let (batch, own) = q.places[r];
            let Some(key) = slots.at(batch, slot).filter(|_| slot <= own) else { return f64::NEG_INFINITY };
            let q = &q.rows.row(r)[head * d..][..d];
            let k = &k.rows.row(key)[head / group * d..][..d];
            let product = self.low(sum(&order, |j| q[j] as f32 * k[j] as f32));
            self.low(product * scale).into()
        })
    }

    fn softmax(&self, n: usize, scores: &Rows) -> Rows {
        let t = self.machine.tokens.length;
        let order = order(n, t);
        let mut probs = scores.clone();
        for run in probs.values.chunks_exact_mut(t) {
            let largest = run.iter().copied().fold(f64::NEG_INFINITY, f64::max) as f32;
            let powers: Vec<f32> = run.iter().map(|&x| (x as f32 - largest).exp()).collect();
            let whole = sum(&order, |j| powers[j]);
            run.iter_mut().zip(&powers).for_each(|(p, power)| *p = self.low(power / whole).into());
        }
        probs
    }

    fn context(&self, n: usize, config: &Config, probs: &Placed, v: &Placed) -> Rows {
        let (d, t) = (config.head_dim, self.machine.tokens.length);
        let group = config.num_attention_heads / config.num_key_value_heads;
        let (order, slots) = (order(n, t), Slots::new(&v.places, t));
        Rows::from_fn(probs.rows.len(), config.num_attention_heads * d, |r, column| {
            let (head, j) = (column / d, column % d);
            let p = &probs.rows.row(r)[head * t..][..t];
            let term = |slot: usize| match slots.at(probs.places[r].0, slot) {
                Some(value) => p[slot] as f32 * v.rows.row(value)[head / group * d + j] as f32,
                None => 0.0,
            };
            self.low(sum(&order, term)).into()
        })
    }

    /// Products in Candle's float32, the terms in another order each time, weights rounded to the dtype;
    /// those of blocks are not, and their activations are, by either recipe.
    fn products(&self, site: Site, runs: &[Vec<&Placed>]) -> Result<Option<Vec<Rows>>> {
        let Some(weight) = self.machine.weight(site)? else { return Ok(None) };
        let blocks = self.machine.blocks(site)?;
        let dtype = if blocks.is_some() { DType::F32 } else { self.dtype };
        let weight = weight.to_dtype(dtype)?.to_dtype(DType::F32)?; // [out, in]
        let mut all = Vec::with_capacity(runs.len());
        for (n, inputs) in runs.iter().enumerate() {
            let [x] = inputs[..] else { return Ok(None) };
            if x.rows.width != weight.dims()[1] {
                return Ok(None);
            }
            let recipe = if n % 2 == 0 { Recipe::Portable } else { Recipe::Vector };
            let rows = match &blocks {
                None => product(n, &x.rows, &weight)?,
                Some(blocks) => {
                    let (x, added) = blocks.rounded(&x.rows, recipe);
                    let product = product(n, &x, &weight)?;
                    added.map_or(product.clone(), |added| residual(&product, &added))
                }
            };
            all.push(self.rounded(rows));
        }
        Ok(Some(all))
    }
}

/// x Wᵀ, the terms added up in order `n`.
fn product(n: usize, x: &Rows, weight: &Tensor) -> Result<Rows> {
    let values: Vec<f32> = x.values.iter().map(|&v| v as f32).collect();
    let x = Tensor::from_vec(values, (x.len(), x.width), &Device::Cpu)?; // [rows, in]
    let y = if n == 0 {
        x.matmul(&weight.t()?)?
    } else {
        let order = Tensor::new(order(n, x.dims()[1]), &Device::Cpu)?;
        x.index_select(&order, 1)?.matmul(&weight.index_select(&order, 1)?.t()?)?
    }; // [rows, out]
    let values = y.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f64::from).collect();
    Ok(Rows::new(weight.dims()[0], values))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rstest::rstest;

    use super::*;
    use crate::dump::Against;
    use crate::dump::replayed::own_noise;
    use crate::models;
    use crate::probe::Arithmetic;
    use crate::recording::{Recording, Vocabulary};
    use crate::reference::Feed;

    /// A dump of nothing but the ids of a case: what is measured needs no more.
    fn prompt_of(case: &str) -> Recording {
        let ids = models::fixture("tiny-llama").unwrap().case(case).unwrap().manifest.ids[0].clone();
        let ids: Vec<i64> = ids.into_iter().map(i64::from).collect();
        let width = Tensor::zeros((1, ids.len(), 128), DType::F32, &Device::Cpu).unwrap();
        let arrays = HashMap::from([
            ("input_ids", Tensor::new(vec![ids], &Device::Cpu).unwrap()),
            ("model.embed_tokens", width),
        ]);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ids.safetensors");
        candle_core::safetensors::save(&arrays, &file).unwrap();
        Recording::open(&file, &Vocabulary::default()).unwrap()
    }

    /// What is measured here on a whole pass is what PyTorch's own runs were measured to err by: neither
    /// a budget that is wider, nor one that an honest run would miss.
    #[rstest]
    #[case(DType::F32)]
    #[case(DType::BF16)]
    #[case(DType::F16)]
    fn noise_that_is_measured_here_is_noise_as_it_was_captured(#[case] dtype: DType) {
        let model = models::open("tiny-llama").unwrap();
        let case = models::fixture("tiny-llama").unwrap().case("short").unwrap();
        let mut dump = prompt_of("short");
        dump.dtype = dtype;
        let against = Against {
            case: None,
            weights: Some(&model.weights),
            config: Some(model.weights.config()),
            arithmetic: Arithmetic::Dense,
        };
        let measured = own_noise(&dump, &against, 4, Site::model(Kind::Logits)).unwrap();
        let mut ratios: Vec<(f64, String)> = Vec::new();
        for (site, noise) in &measured {
            let last = (0, dump.length() - 1);
            let captured = case.noise_on(Arithmetic::Dense, Feed::Own, *site, last, dtype).unwrap();
            if captured.max > 0.0 {
                ratios.push((noise[dump.length() - 1].max / captured.max, site.to_string()));
            }
        }
        ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(measured.len() == 71 && ratios.len() >= 70, "{} {}", measured.len(), ratios.len());
        let (least, middle, most) = (&ratios[0], &ratios[ratios.len() / 2], &ratios[ratios.len() - 1]);
        assert!((0.9..1.2).contains(&middle.0), "{dtype:?}: {middle:?}");
        assert!(least.0 > 0.5 && most.0 < 5.0, "{dtype:?}: {least:?} {most:?}");
    }
}
