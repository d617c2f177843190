//! Attention with grouped queries (Vaswani et al., 2017; Ainslie et al., 2023), step by step.

use super::{Rows, Slots};

/// How the heads of an attention lie and what they do.
#[derive(Clone, Debug, PartialEq)]
pub struct Heads {
    /// The key and value head that each query head looks at, `[heads]`.
    pub looks_at: Vec<usize>,
    /// Width of a head.
    pub head_dim: usize,
    /// What products of queries and keys are multiplied with.
    pub scale: f64,
}

impl Heads {
    /// Llama's: the query heads of a group stand side by side, scores are divided by √head_dim.
    pub fn grouped(heads: usize, kv_heads: usize, head_dim: usize) -> Self {
        let looks_at = (0..heads).map(|h| h / (heads / kv_heads)).collect();
        Self { looks_at, head_dim, scale: 1.0 / (head_dim as f64).sqrt() }
    }

    /// Query heads.
    pub fn count(&self) -> usize {
        self.looks_at.len()
    }
}

/// q kᵀ · scale where `visible(query, batch row, slot)`, −inf elsewhere: `[queries, heads * slots]`.
///
/// Query i belongs to batch row `batch[i]`; `keys` says which row of k stands in a slot. What no key
/// stands in is never visible.
pub fn scores(
    q: &Rows,
    k: &Rows,
    batch: &[usize],
    keys: &Slots,
    heads: &Heads,
    visible: impl Fn(usize, usize, usize) -> bool,
) -> Rows {
    let (d, t) = (heads.head_dim, keys.len());
    Rows::from_fn(q.len(), heads.count() * t, |query, column| {
        let (head, slot) = (column / t, column % t);
        match keys.at(batch[query], slot) {
            Some(key) if visible(query, batch[query], slot) => {
                let looks_at = heads.looks_at[head];
                let q = &q.row(query)[head * d..][..d];
                let k = &k.row(key)[looks_at * d..][..d];
                q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>() * heads.scale
            }
            _ => f64::NEG_INFINITY,
        }
    }) // [queries, heads * slots]
}

/// e^x / Σ e^x along each run of `slots` entries, `[queries, heads * slots]` → the same. A run that
/// is barred throughout is 0.
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
pub fn context(probs: &Rows, v: &Rows, batch: &[usize], values: &Slots, heads: &Heads) -> Rows {
    let (d, t) = (heads.head_dim, values.len());
    let mut context = Rows::from_fn(probs.len(), heads.count() * d, |_, _| 0.0); // [queries, heads * head_dim]
    for (query, &b) in batch.iter().enumerate() {
        for (head, &looks_at) in heads.looks_at.iter().enumerate() {
            for slot in 0..t {
                let Some(value) = values.at(b, slot) else { continue };
                let p = probs.row(query)[head * t + slot];
                let out = &mut context.values[(query * heads.count() + head) * d..][..d];
                let v = &v.row(value)[looks_at * d..][..d];
                out.iter_mut().zip(v).for_each(|(out, v)| *out += p * v);
            }
        }
    }
    context
}
