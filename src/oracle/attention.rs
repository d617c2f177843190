//! Attention with grouped queries (Vaswani et al., 2017; Ainslie et al., 2023), step by step.

use rayon::prelude::*;

use super::{Rows, Slots};
use crate::graph::{Context, Scores};

/// softcap(q kᵀ · scale) where `visible(query, batch row, slot)` is true, −inf elsewhere:
/// `[queries, heads * slots]`.
///
/// Query i belongs to batch row `batch[i]`; `keys` maps slots to rows of k. A slot without a key is never
/// visible. The mask of `scores` is ignored; only `visible` counts.
pub fn scores(
    q: &Rows,
    k: &Rows,
    batch: &[usize],
    keys: &Slots,
    scores: &Scores,
    visible: impl Fn(usize, usize, usize) -> bool + Sync,
) -> Rows {
    let (d, t, width) = (scores.head_dim, keys.len(), scores.heads.len() * keys.len());
    let mut all = Rows { width, values: vec![f64::NEG_INFINITY; q.len() * width] }; // [queries, heads * slots]
    let entry = |query: usize, head: usize, key: usize| {
        let q = &q.row(query)[head * d..][..d];
        let k = &k.row(key)[scores.heads[head] * d..][..d];
        let score = q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>() * scores.scale;
        scores.softcap.map_or(score, |cap| softcapped(score, cap))
    };
    all.values.par_chunks_mut(width.max(1)).enumerate().for_each(|(query, row)| {
        for (column, score) in row.iter_mut().enumerate() {
            let (head, slot) = (column / t, column % t);
            match keys.at(batch[query], slot) {
                Some(key) if visible(query, batch[query], slot) => *score = entry(query, head, key),
                _ => {}
            }
        }
    });
    all
}

/// cap · tanh(x / cap) (Bello et al., 2016; Gemma 2).
pub fn softcapped(x: f64, cap: f64) -> f64 {
    cap * (x / cap).tanh()
}

/// e^x / Σ e^x along each run of `slots` entries, `[queries, heads * slots]` → the same shape. A run in which
/// every entry is −inf becomes 0.
pub fn softmax(scores: &Rows, slots: usize) -> Rows {
    let mut probs = scores.clone(); // [queries, heads * slots]
    probs.values.par_chunks_mut(slots.max(1)).with_min_len(16).for_each(|run| {
        let largest = run.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if largest == f64::NEG_INFINITY {
            run.fill(0.0);
            return;
        }
        run.iter_mut().for_each(|x| *x = (*x - largest).exp());
        let sum: f64 = run.iter().sum();
        run.iter_mut().for_each(|x| *x /= sum);
    });
    probs
}

/// Σ probs · v over the slots, heads concatenated: `[queries, heads * head_dim]`.
pub fn context(probs: &Rows, v: &Rows, batch: &[usize], values: &Slots, context: &Context) -> Rows {
    let (d, t, heads) = (context.head_dim, values.len(), context.heads.len());
    let width = heads * d;
    let mut merged = Rows { width, values: vec![0.0; probs.len() * width] }; // [queries, heads * head_dim]
    merged.values.par_chunks_mut(width.max(1)).enumerate().for_each(|(query, row)| {
        for (head, out) in row.chunks_exact_mut(d.max(1)).enumerate() {
            for slot in 0..t {
                let Some(value) = values.at(batch[query], slot) else { continue };
                let p = probs.row(query)[head * t + slot];
                let v = &v.row(value)[context.heads[head] * d..][..d];
                out.iter_mut().zip(v).for_each(|(out, v)| *out += p * v);
            }
        }
    });
    merged
}
