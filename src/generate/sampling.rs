//! The logits of one position → a distribution → a token, with the processors of `transformers` in
//! its order: repetition penalty, temperature, top-k, top-p, min-p, each on what the one before
//! left over.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::processors::{argmax, check, keep_min_p, keep_top_k, keep_top_p, penalise, softmax};
use crate::{Error, Result};

/// How a token is chosen. The default is greedy, without penalty.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// What logits are divided by; 0 takes the most likely token and ignores the filters below.
    pub temperature: f64,
    /// Keeps the k most likely tokens, and those that tie with the last of them.
    pub top_k: Option<usize>,
    /// Keeps the fewest most likely tokens whose probabilities add up to p; of tokens that tie, the
    /// highest ids.
    pub top_p: Option<f64>,
    /// Keeps tokens at least this many times as likely as the likeliest.
    pub min_p: Option<f64>,
    /// Divides positive logits of tokens already in the context, and multiplies negative ones; 1 is
    /// no penalty.
    pub repetition_penalty: f64,
    /// Equal seeds draw equal tokens from equal logits.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.0, top_k: None, top_p: None, min_p: None, repetition_penalty: 1.0, seed: 0 }
    }
}

impl Sampling {
    /// Is every setting one that means something?
    ///
    /// # Errors
    /// That name the setting and the values it takes.
    pub fn validate(&self) -> Result<()> {
        let demand = |holds: bool, name: &str, value: String, hint: &str| match holds {
            true => Ok(()),
            false => Err(Error::input(format!("{name} {value} cannot be sampled with"), hint)),
        };
        let (t, penalty) = (self.temperature, self.repetition_penalty);
        let shown = |p: Option<f64>| p.map(|p| p.to_string()).unwrap_or_default();
        demand(t.is_finite() && t >= 0.0, "temperature", t.to_string(), "0 is greedy, 1 the model's own")?;
        demand(self.top_k != Some(0), "top-k", "0".into(), "keep 1 token or more, or leave it out")?;
        demand(
            self.top_p.is_none_or(|p| p > 0.0 && p <= 1.0),
            "top-p",
            shown(self.top_p),
            "above 0 and up to 1",
        )?;
        demand(
            self.min_p.is_none_or(|p| (0.0..=1.0).contains(&p)),
            "min-p",
            shown(self.min_p),
            "from 0 to 1",
        )?;
        let usable = penalty.is_finite() && penalty > 0.0;
        demand(usable, "repetition penalty", penalty.to_string(), "above 0; 1 is no penalty")
    }

    /// The probability of each token after `context`, given its logits, `[vocab]` → `[vocab]`.
    ///
    /// # Errors
    /// For settings that [`Sampling::validate`] refuses, and for logits that hold NaN or +∞ or
    /// leave no token possible.
    pub fn distribution(&self, logits: &[f32], context: &[u32]) -> Result<Vec<f64>> {
        self.validate()?;
        let mut scores: Vec<f64> = logits.iter().map(|&logit| f64::from(logit)).collect();
        penalise(&mut scores, context, self.repetition_penalty);
        check(&scores)?;
        let best = argmax(&scores);
        if self.temperature == 0.0 {
            return Ok((0..scores.len()).map(|id| f64::from(u8::from(id == best))).collect());
        }
        // The maximum goes first: a small temperature then underflows and cannot overflow.
        let most = scores[best];
        scores.iter_mut().for_each(|score| *score = (*score - most) / self.temperature);
        if let Some(k) = self.top_k {
            keep_top_k(&mut scores, k);
        }
        if let Some(p) = self.top_p.filter(|&p| p < 1.0) {
            keep_top_p(&mut scores, p);
        }
        if let Some(p) = self.min_p {
            keep_min_p(&mut scores, p);
        }
        Ok(softmax(&scores))
    }
}

/// Draws tokens, one seeded stream of them.
#[derive(Debug)]
pub struct Sampler {
    sampling: Sampling,
    rng: StdRng,
}

impl Sampler {
    /// Starts the stream of `sampling.seed`.
    ///
    /// # Errors
    /// As [`Sampling::validate`].
    pub fn new(sampling: Sampling) -> Result<Self> {
        sampling.validate()?;
        Ok(Self { rng: StdRng::seed_from_u64(sampling.seed), sampling })
    }

    /// The next token after `context`; greedy when the temperature is 0, and then no randomness is
    /// used up.
    ///
    /// # Errors
    /// As [`Sampling::distribution`].
    pub fn sample(&mut self, logits: &[f32], context: &[u32]) -> Result<u32> {
        let distribution = self.sampling.distribution(logits, context)?;
        if self.sampling.temperature == 0.0 {
            return Ok(argmax(&distribution) as u32);
        }
        let mut left: f64 = self.rng.random(); // in [0, 1)
        for (id, p) in distribution.iter().enumerate() {
            if left < *p {
                return Ok(id as u32);
            }
            left -= p;
        }
        // The sum fell short of 1 by rounding: the likeliest token takes the rest.
        Ok(argmax(&distribution) as u32)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const LOGITS: [f32; 5] = [1.0, 3.0, -2.0, 3.0, 0.5];

    fn warm() -> Sampling {
        Sampling { temperature: 1.0, ..Sampling::default() }
    }

    fn kept(sampling: Sampling, logits: &[f32]) -> Vec<usize> {
        let probs = sampling.distribution(logits, &[]).unwrap();
        (0..probs.len()).filter(|&id| probs[id] > 0.0).collect()
    }

    #[test]
    fn greedy_takes_the_lowest_id_of_a_tie_and_draws_nothing() {
        let mut sampler = Sampler::new(Sampling::default()).unwrap();
        let untouched = sampler.rng.clone();
        assert_eq!(sampler.sample(&LOGITS, &[]).unwrap(), 1);
        assert_eq!(sampler.rng, untouched);
    }

    #[test]
    fn ties_are_kept_by_top_k_and_cut_from_below_by_top_p() {
        assert_eq!(kept(Sampling { top_k: Some(1), ..warm() }, &LOGITS), [1, 3]);
        assert_eq!(kept(Sampling { top_p: Some(0.1), ..warm() }, &LOGITS), [3]);
        assert_eq!(kept(Sampling { top_p: Some(0.6), ..warm() }, &LOGITS), [1, 3]);
        assert_eq!(kept(Sampling { min_p: Some(0.1), ..warm() }, &LOGITS), [0, 1, 3]);
    }

    #[test]
    fn the_penalty_lowers_both_signs_and_counts_a_token_once() {
        let sampling = Sampling { repetition_penalty: 2.0, ..warm() };
        let got = sampling.distribution(&LOGITS, &[1, 2, 2, 99]).unwrap();
        let want = warm().distribution(&[1.0, 1.5, -4.0, 3.0, 0.5], &[]).unwrap();
        assert_eq!(got, want);
        let greedy = Sampling { repetition_penalty: 2.0, ..Sampling::default() };
        assert_eq!(Sampler::new(greedy).unwrap().sample(&LOGITS, &[1]).unwrap(), 3);
    }

    #[rstest]
    #[case(Sampling { temperature: -1.0, ..warm() }, "temperature -1")]
    #[case(Sampling { temperature: f64::NAN, ..warm() }, "temperature NaN")]
    #[case(Sampling { top_k: Some(0), ..warm() }, "top-k 0")]
    #[case(Sampling { top_p: Some(0.0), ..warm() }, "top-p 0")]
    #[case(Sampling { top_p: Some(1.5), ..warm() }, "top-p 1.5")]
    #[case(Sampling { min_p: Some(-0.1), ..warm() }, "min-p -0.1")]
    #[case(Sampling { repetition_penalty: 0.0, ..warm() }, "repetition penalty 0")]
    fn meaningless_settings_are_errors(#[case] sampling: Sampling, #[case] what: &str) {
        let error = sampling.distribution(&LOGITS, &[]).unwrap_err().to_string();
        assert!(error.starts_with(what), "{error}");
        Sampler::new(sampling).unwrap_err();
    }

    #[rstest]
    #[case(&[1.0, f32::NAN], "token 1 is NaN")]
    #[case(&[f32::INFINITY, 1.0], "token 0 is inf")]
    #[case(&[f32::NEG_INFINITY; 3], "none of 3 logits")]
    #[case(&[], "none of 0 logits")]
    fn broken_logits_are_errors(#[case] logits: &[f32], #[case] what: &str) {
        for sampling in [warm(), Sampling::default()] {
            let error = sampling.distribution(logits, &[]).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }

    #[test]
    fn tokens_come_as_often_as_their_probability_says() {
        let mut sampler = Sampler::new(Sampling { temperature: 2.0, ..warm() }).unwrap();
        let want = sampler.sampling.distribution(&LOGITS, &[]).unwrap();
        let mut count = [0; LOGITS.len()];
        for _ in 0..20_000 {
            count[sampler.sample(&LOGITS, &[]).unwrap() as usize] += 1;
        }
        for (count, want) in count.into_iter().zip(want) {
            assert!((f64::from(count) / 20_000.0 - want).abs() < 0.02);
        }
    }

    proptest! {
        #[test]
        fn it_is_a_distribution_and_the_filters_leave_the_likeliest(
            logits in prop::collection::vec(-60f32..60.0, 1..80),
            temperature in 0f64..3.0,
            top_k in prop::option::of(1usize..90),
            top_p in prop::option::of(0.01f64..=1.0),
            min_p in prop::option::of(0f64..=1.0),
        ) {
            let sampling = Sampling { temperature, top_k, top_p, min_p, ..Sampling::default() };
            let probs = sampling.distribution(&logits, &[]).unwrap();
            prop_assert!((probs.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            prop_assert!(probs.iter().all(|p| (0.0..=1.0).contains(p)));
            let likeliest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            prop_assert!((0..probs.len()).any(|id| logits[id] == likeliest && probs[id] > 0.0));
        }

        #[test]
        fn top_k_leaves_k_of_different_logits(
            ranks in Just((0..40).collect::<Vec<i32>>()).prop_shuffle(),
            k in 1usize..60,
        ) {
            let logits: Vec<f32> = ranks.iter().map(|&rank| rank as f32 / 4.0).collect();
            prop_assert_eq!(kept(Sampling { top_k: Some(k), ..warm() }, &logits).len(), k.min(40));
        }

        #[test]
        fn top_p_leaves_the_fewest_that_reach_p(
            ranks in Just((0..30).collect::<Vec<i32>>()).prop_shuffle(),
            p in 0.05f64..0.95,
        ) {
            let logits: Vec<f32> = ranks.iter().map(|&rank| rank as f32 / 3.0).collect();
            let full = warm().distribution(&logits, &[]).unwrap();
            let mut left: Vec<f64> =
                kept(Sampling { top_p: Some(p), ..warm() }, &logits).iter().map(|&id| full[id]).collect();
            left.sort_by(f64::total_cmp);
            prop_assert!(left.iter().sum::<f64>() >= p - 1e-9);
            prop_assert!(left[1..].iter().sum::<f64>() < p + 1e-9);
        }

        #[test]
        fn seeds_repeat_and_cold_is_greedy(
            logits in prop::collection::vec(-9f32..9.0, 2..50),
            seed: u64,
        ) {
            let draw = |temperature| {
                let mut sampler = Sampler::new(Sampling { temperature, seed, ..warm() }).unwrap();
                (0..8).map(|_| sampler.sample(&logits, &[]).unwrap()).collect::<Vec<_>>()
            };
            prop_assert_eq!(draw(1.0), draw(1.0));
            let likeliest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            prop_assert!(draw(1e-9).iter().all(|&id| logits[id as usize] == likeliest));
            prop_assert_eq!(logits[draw(0.0)[0] as usize], likeliest);
        }
    }
}
