//! Attention with grouped queries (Vaswani et al., 2017; Ainslie et al., 2023), step by step.

use super::{Rows, Slots};
use crate::graph::{Context, Scores};

/// softcap(q kᵀ · scale) where `visible(query, batch row, slot)`, −inf elsewhere: `[queries, heads * slots]`.
///
/// Query i belongs to batch row `batch[i]`; `keys` says which row of k stands in a slot. A slot without a key is
/// never visible. The mask of `scores` is not looked at: `visible` is.
pub fn scores(
    q: &Rows,
    k: &Rows,
    batch: &[usize],
    keys: &Slots,
    scores: &Scores,
    visible: impl Fn(usize, usize, usize) -> bool,
) -> Rows {
    let (d, t) = (scores.head_dim, keys.len());
    Rows::from_fn(q.len(), scores.heads.len() * t, |query, column| {
        let (head, slot) = (column / t, column % t);
        match keys.at(batch[query], slot) {
            Some(key) if visible(query, batch[query], slot) => {
                let looks_at = scores.heads[head];
                let q = &q.row(query)[head * d..][..d];
                let k = &k.row(key)[looks_at * d..][..d];
                let score = q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>() * scores.scale;
                scores.softcap.map_or(score, |cap| softcapped(score, cap))
            }
            _ => f64::NEG_INFINITY,
        }
    }) // [queries, heads * slots]
}

/// cap · tanh(x / cap) (Bello et al., 2016; Gemma 2).
pub fn softcapped(x: f64, cap: f64) -> f64 {
    cap * (x / cap).tanh()
}

/// e^x / Σ e^x along each run of `slots` entries, `[queries, heads * slots]` → the same. A run that is −inf
/// throughout becomes 0.
pub fn softmax(scores: &Rows, slots: usize) -> Rows {
    let mut probs = scores.clone(); // [queries, heads * slots]
    for run in probs.values.chunks_exact_mut(slots) {
        let largest = run.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if largest == f64::NEG_INFINITY {
            run.fill(0.0);
            continue;
        }
        run.iter_mut().for_each(|x| *x = (*x - largest).exp());
        let sum: f64 = run.iter().sum();
        run.iter_mut().for_each(|x| *x /= sum);
    }
    probs
}

/// Σ probs · v over the slots, heads side by side: `[queries, heads * head_dim]`.
pub fn context(probs: &Rows, v: &Rows, batch: &[usize], values: &Slots, context: &Context) -> Rows {
    let (d, t, heads) = (context.head_dim, values.len(), context.heads.len());
    let mut merged = Rows::from_fn(probs.len(), heads * d, |_, _| 0.0); // [queries, heads * head_dim]
    for (query, &b) in batch.iter().enumerate() {
        for (head, &looks_at) in context.heads.iter().enumerate() {
            for slot in 0..t {
                let Some(value) = values.at(b, slot) else { continue };
                let p = probs.row(query)[head * t + slot];
                let out = &mut merged.values[(query * heads + head) * d..][..d];
                let v = &v.row(value)[looks_at * d..][..d];
                out.iter_mut().zip(v).for_each(|(out, v)| *out += p * v);
            }
        }
    }
    merged
}
