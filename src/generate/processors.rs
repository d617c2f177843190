//! Logits processors: filters and penalties on the scores of one position.
//!
//! They use no Candle function: one row of scores is small, and the handling of ties is exactly what a
//! checkpoint compares with `transformers`.
//!
//! Scores are logits in f64; −∞ excludes a token. Every filter keeps the most likely token.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::{Error, Result};

/// Checks that the scores form a distribution.
pub fn check(scores: &[f64]) -> Result<()> {
    let hint = "the model overflowed or its weights are damaged: run the checkpoints";
    if let Some(id) = scores.iter().position(|score| score.is_nan() || *score == f64::INFINITY) {
        return Err(Error::input(format!("the logit of token {id} is {}", scores[id]), hint));
    }
    if scores.iter().all(|score| *score == f64::NEG_INFINITY) {
        return Err(Error::input(
            format!("no token can be chosen: all {} logits are −∞", scores.len()),
            hint,
        ));
    }
    Ok(())
}

/// The index of the largest score; for equal scores, the lowest id.
pub fn argmax(scores: &[f64]) -> usize {
    scores.iter().enumerate().fold(0, |best, (id, score)| if *score > scores[best] { id } else { best })
}

/// Adds `biases` to the scores of these tokens, all of which must be in the vocabulary.
pub fn bias(scores: &mut [f64], biases: &BTreeMap<u32, f64>) {
    for (&id, bias) in biases {
        scores[id as usize] += bias;
    }
}

/// Makes every token of `context` less likely, only once however often it occurs.
pub fn penalise(scores: &mut [f64], context: &[u32], penalty: f64) {
    let seen: HashSet<u32> = context.iter().copied().collect();
    for id in seen {
        if let Some(score) = scores.get_mut(id as usize) {
            *score = if *score < 0.0 { *score * penalty } else { *score / penalty };
        }
    }
}

/// Subtracts from the score of every token of `generated`: `presence`, and `frequency` for each time that it occurs there.
/// A negative penalty makes these tokens more likely. The formula is that of OpenAI's API reference.
pub fn penalise_generated(scores: &mut [f64], generated: &[u32], frequency: f64, presence: f64) {
    if frequency == 0.0 && presence == 0.0 {
        return;
    }
    let mut counts: HashMap<u32, u32> = HashMap::new();
    for &id in generated {
        *counts.entry(id).or_default() += 1;
    }
    for (id, count) in counts {
        if let Some(score) = scores.get_mut(id as usize) {
            *score -= f64::from(count) * frequency + presence;
        }
    }
}

/// Excludes tokens with a lower score than the k-th best.
pub fn keep_top_k(scores: &mut [f64], k: usize) {
    if k >= scores.len() {
        return;
    }
    let mut sorted = scores.to_vec();
    let (_, &mut last, _) = sorted.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    bar(scores, |score| score < last);
}

/// Excludes the least likely tokens whose total probability is at most 1 − p, but never the most likely one.
///
/// All tokens of at most (1 − p) / n go together, because there are n at most, so that only the others are sorted.
pub fn keep_top_p(scores: &mut [f64], p: f64) {
    let probs = softmax(scores);
    let small = (1.0 - p) / scores.len() as f64;
    let (gone, mut ids): (Vec<usize>, Vec<usize>) = (0..scores.len()).partition(|&id| probs[id] <= small);
    ids.sort_by(|&a, &b| scores[a].total_cmp(&scores[b])); // stable: of equal scores, low ids go first
    let mut sum: f64 = gone.iter().map(|&id| probs[id]).sum();
    gone.iter().for_each(|&id| scores[id] = f64::NEG_INFINITY);
    for &id in &ids[..ids.len().saturating_sub(1)] {
        sum += probs[id];
        if sum > 1.0 - p {
            break;
        }
        scores[id] = f64::NEG_INFINITY;
    }
}

/// Excludes tokens less than p times as likely as the most likely one.
pub fn keep_min_p(scores: &mut [f64], p: f64) {
    let most = scores[argmax(scores)];
    bar(scores, |score| (score - most).exp() < p);
}

/// Excludes the tokens whose scores meet `condition`.
fn bar(scores: &mut [f64], condition: impl Fn(f64) -> bool) {
    scores.iter_mut().filter(|score| condition(**score)).for_each(|score| *score = f64::NEG_INFINITY);
}

/// The logarithm of the sum of exponentials; score minus this is a log-probability.
pub fn log_sum_exp(scores: &[f64]) -> f64 {
    let most = scores[argmax(scores)];
    most + scores.iter().map(|score| (score - most).exp()).sum::<f64>().ln()
}

/// Turns scores into probabilities; −∞ becomes 0.
pub fn softmax(scores: &[f64]) -> Vec<f64> {
    let most = scores[argmax(scores)];
    let weights: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}
