//! Softmax and weighted sum in one pass over the keys, as fused kernels compute them: what was summed is rescaled
//! whenever a later key has a larger score (Milakov and Gimelshein, 2018; Dao et al., 2022).

use super::precision::Precision;
use super::reordered::ORDERS;
use super::rows::Rows;
use super::sight::Sight;
use crate::graph::Context;

/// How many keys are added at once, and how many running sums are merged at the end, as where keys are split among
/// groups of threads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recipe {
    block: usize,
    lanes: usize,
}

/// The recipes of the last runs; the runs before them compute all probabilities first.
const RECIPES: [Recipe; 3] =
    [Recipe { block: 1, lanes: 1 }, Recipe { block: 4, lanes: 1 }, Recipe { block: 1, lanes: 4 }];

impl Recipe {
    /// The recipe of run `run`, if it computes attention in one pass.
    pub fn of(run: usize) -> Option<Self> {
        run.checked_sub(ORDERS - RECIPES.len()).and_then(|n| RECIPES.get(n)).copied()
    }
}

/// The largest score so far, the sum of the weights, and the weighted sum of the values, `[head_dim]`.
struct Running {
    largest: f32,
    total: f32,
    mixed: Vec<f32>,
}

impl Running {
    fn new(width: usize) -> Self {
        Self { largest: f32::NEG_INFINITY, total: 0.0, mixed: vec![0.0; width] }
    }

    /// Makes `largest` the number from which weights are counted.
    fn rescale(&mut self, largest: f32) {
        if largest > self.largest {
            let factor = (self.largest - largest).exp();
            self.total *= factor;
            self.mixed.iter_mut().for_each(|x| *x *= factor);
            self.largest = largest;
        }
    }

    /// Adds a block of keys: the score and the value of each.
    fn add(&mut self, precision: Precision, block: &[(f32, Vec<f32>)]) {
        self.rescale(block.iter().map(|(score, _)| *score).fold(f32::NEG_INFINITY, f32::max));
        if self.largest == f32::NEG_INFINITY {
            return;
        }
        for (score, value) in block {
            let weight = (score - self.largest).exp();
            self.total += weight;
            let weight = precision.round(weight);
            self.mixed.iter_mut().zip(value).for_each(|(x, v)| *x += weight * v);
        }
    }

    fn merge(&mut self, mut other: Self) {
        let largest = self.largest.max(other.largest);
        if largest == f32::NEG_INFINITY {
            return;
        }
        self.rescale(largest);
        other.rescale(largest);
        self.total += other.total;
        self.mixed.iter_mut().zip(other.mixed).for_each(|(x, other)| *x += other);
    }
}

/// The context of `scores`, `[queries, heads * slots]`, over the values: `[queries, heads * head_dim]`.
pub(super) fn attend(
    precision: Precision,
    recipe: Recipe,
    scores: &Rows,
    v: &Rows,
    sight: &Sight,
    context: &Context,
) -> Rows {
    let (d, slots) = (context.head_dim, sight.keys.len());
    let mut merged = Vec::with_capacity(scores.len() * context.heads.len() * d);
    for (row, &(batch, _)) in scores.iter().zip(sight.queries) {
        for (of_head, &head) in row.chunks_exact(slots).zip(context.heads.iter()) {
            let keys = of_head.iter().enumerate().filter_map(|(slot, &score)| {
                let key = sight.keys.at(batch, slot).filter(|_| score > f64::NEG_INFINITY)?;
                Some((score as f32, precision.read(&v.row(key)[head * d..][..d])))
            });
            let keys: Vec<(f32, Vec<f32>)> = keys.collect();
            let mut lanes: Vec<Running> = (0..recipe.lanes).map(|_| Running::new(d)).collect();
            for (n, block) in keys.chunks(recipe.block).enumerate() {
                lanes[n % recipe.lanes].add(precision, block);
            }
            let mut all = Running::new(d);
            lanes.into_iter().for_each(|lane| all.merge(lane));
            let total = if all.total == 0.0 { 1.0 } else { all.total };
            merged.extend(all.mixed.iter().map(|x| x / total));
        }
    }
    precision.write(context.heads.len() * d, merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Weights relative to the largest score so far give the softmax, whatever the order.
    #[test]
    fn every_recipe_gives_the_weighted_mean() {
        let scores = [0.5f32, -1.0, 3.0, 2.0, 2.5, -4.0];
        let keys: Vec<(f32, Vec<f32>)> =
            scores.iter().enumerate().map(|(n, &s)| (s, vec![n as f32])).collect();
        let total: f64 = scores.iter().map(|&s| f64::from(s).exp()).sum();
        let want =
            scores.iter().enumerate().map(|(n, &s)| f64::from(s).exp() / total * n as f64).sum::<f64>();
        for recipe in RECIPES {
            let mut lanes: Vec<Running> = (0..recipe.lanes).map(|_| Running::new(1)).collect();
            for (n, block) in keys.chunks(recipe.block).enumerate() {
                lanes[n % recipe.lanes].add(Precision::F32, block);
            }
            let mut all = Running::new(1);
            lanes.into_iter().for_each(|lane| all.merge(lane));
            let got = f64::from(all.mixed[0] / all.total);
            assert!((got - want).abs() < 1e-6, "{recipe:?}: {got} is not {want}");
        }
    }

    #[test]
    fn only_the_last_runs_have_a_recipe() {
        let runs: Vec<bool> = (0..ORDERS).map(|run| Recipe::of(run).is_some()).collect();
        assert_eq!(runs, [false, false, false, false, false, true, true, true]);
    }
}
