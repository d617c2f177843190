//! Log-probabilities of a token, by the model and after the logits processors.

use super::processors::log_sum_exp;
use super::sampling::Draw;

/// A token, and the natural logarithms of its probabilities.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Likelihood {
    /// The token's id.
    pub token: u32,
    /// In the distribution that was sampled; −∞ for an excluded token. A greedy choice has 0.
    pub sampled: f64,
    /// In the softmax of the model's logits.
    pub raw: f64,
}

/// The likelihoods of the token drawn from these logits, `[vocab]`, and of the `others` tokens with the
/// largest logits, in order; for equal logits, the lowest ids first.
pub(super) fn likelihoods(draw: &Draw, logits: &[f32], others: usize) -> (Likelihood, Vec<Likelihood>) {
    let raw: Vec<f64> = logits.iter().map(|&logit| f64::from(logit)).collect();
    let (sampled_sum, raw_sum) = (log_sum_exp(&draw.scores), log_sum_exp(&raw));
    let of = |id: usize| Likelihood {
        token: id as u32,
        sampled: draw.scores[id] - sampled_sum,
        raw: raw[id] - raw_sum,
    };
    let mut ids: Vec<usize> = (0..raw.len()).collect();
    let likelier = |a: &usize, b: &usize| raw[*b].total_cmp(&raw[*a]).then(a.cmp(b));
    if others > 0 && others < ids.len() {
        ids.select_nth_unstable_by(others - 1, likelier);
    }
    ids.truncate(others);
    ids.sort_unstable_by(likelier);
    (of(draw.token as usize), ids.into_iter().map(of).collect())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::generate::{Sampler, Sampling};

    const LOGITS: [f32; 5] = [1.0, 3.0, -2.0, 3.0, 0.5];

    #[rstest]
    #[case(0, &[])]
    #[case(1, &[1])]
    #[case(3, &[1, 3, 0])]
    #[case(9, &[1, 3, 0, 4, 2])]
    fn the_most_likely_tokens_come_in_order(#[case] others: usize, #[case] ids: &[u32]) {
        let draw = Sampler::new(Sampling::default()).unwrap().draw(&LOGITS, &[]).unwrap();
        let (_, others) = likelihoods(&draw, &LOGITS, others);
        assert_eq!(others.iter().map(|one| one.token).collect::<Vec<_>>(), ids);
    }

    #[test]
    fn both_likelihoods_are_logarithms_of_the_probabilities() {
        let sampling = Sampling { temperature: 0.5, top_k: Some(3), seed: 2, ..Sampling::default() };
        let draw = Sampler::new(sampling.clone()).unwrap().draw(&LOGITS, &[]).unwrap();
        let (chosen, all) = likelihoods(&draw, &LOGITS, 5);
        let neutral = Sampling { temperature: 1.0, ..Sampling::default() };
        let probs = |sampling: &Sampling| sampling.distribution(&LOGITS, &[]).unwrap();
        let (sampled, raw) = (probs(&sampling), probs(&neutral));
        assert!(all.contains(&chosen) && chosen.sampled > f64::NEG_INFINITY);
        for one in all {
            approx::assert_relative_eq!(one.sampled.exp(), sampled[one.token as usize], epsilon = 1e-15);
            approx::assert_relative_eq!(one.raw.exp(), raw[one.token as usize], epsilon = 1e-15);
        }
    }

    #[test]
    fn a_greedy_choice_has_probability_1_and_other_tokens_0() {
        let draw = Sampler::new(Sampling::default()).unwrap().draw(&LOGITS, &[]).unwrap();
        let (chosen, all) = likelihoods(&draw, &LOGITS, 2);
        assert_eq!((chosen.token, chosen.sampled), (1, 0.0));
        assert_eq!((all[1].token, all[1].sampled, all[1].raw), (3, f64::NEG_INFINITY, chosen.raw));
    }
}
