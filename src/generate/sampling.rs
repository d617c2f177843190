//! The logits of one position → a distribution → a token, with the processors of `transformers` in
//! its order: logit bias, repetition penalty, temperature, top-k, top-p, min-p, each on what the one
//! before left over.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::processors::{argmax, bias, check, keep_min_p, keep_top_k, keep_top_p, penalise, softmax};
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
    /// Added to the logits of these tokens before anything else; −∞ bars one.
    pub logit_bias: BTreeMap<u32, f64>,
    /// Equal seeds draw equal tokens from equal logits.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: None,
            top_p: None,
            min_p: None,
            repetition_penalty: 1.0,
            logit_bias: BTreeMap::new(),
            seed: 0,
        }
    }
}

impl Sampling {
    /// Is every setting one that means something?
    ///
    /// # Errors
    /// That name the setting and the values it takes.
    pub fn validate(&self) -> Result<()> {
        let demand = |holds: bool, name: &str, value: String, hint: &str| {
            if holds {
                Ok(())
            } else {
                Err(Error::input(format!("{name} {value} cannot be sampled with"), hint))
            }
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
        demand(usable, "repetition penalty", penalty.to_string(), "above 0; 1 is no penalty")?;
        for (token, &bias) in &self.logit_bias {
            let usable = !bias.is_nan() && bias < f64::INFINITY;
            let hint = "a number; -inf bars the token";
            demand(usable, &format!("logit bias of token {token}"), bias.to_string(), hint)?;
        }
        Ok(())
    }

    /// Does every bias stand on a token of a vocabulary of this size?
    ///
    /// # Errors
    /// That name the token that is none.
    pub fn fits(&self, vocab: usize) -> Result<()> {
        match self.logit_bias.keys().find(|&&token| token as usize >= vocab) {
            None => Ok(()),
            Some(token) => {
                let what = format!("logit bias of token {token}: there is no such token");
                Err(Error::input(what, format!("ids are 0 to {}", vocab.saturating_sub(1))))
            }
        }
    }

    /// The probability of each token after `context`, given its logits, `[vocab]` → `[vocab]`.
    ///
    /// # Errors
    /// For settings that [`Sampling::validate`] or [`Sampling::fits`] refuses, and for logits that
    /// hold NaN or +∞ or leave no token possible.
    pub fn distribution(&self, logits: &[f32], context: &[u32]) -> Result<Vec<f64>> {
        Ok(softmax(&self.scores(logits, context)?))
    }

    /// What [`Sampling::distribution`] is the softmax of, `[vocab]`; −∞ where a token is barred.
    /// Errors as there.
    fn scores(&self, logits: &[f32], context: &[u32]) -> Result<Vec<f64>> {
        self.validate()?;
        self.fits(logits.len())?;
        let mut scores: Vec<f64> = logits.iter().map(|&logit| f64::from(logit)).collect();
        bias(&mut scores, &self.logit_bias);
        penalise(&mut scores, context, self.repetition_penalty);
        check(&scores)?;
        let best = argmax(&scores);
        if self.temperature == 0.0 {
            let only = |id| if id == best { 0.0 } else { f64::NEG_INFINITY };
            return Ok((0..scores.len()).map(only).collect());
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
        Ok(scores)
    }
}

/// A token, and what it was drawn from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Draw {
    pub token: u32,
    /// Processed logits, `[vocab]`; −∞ where a token was barred.
    pub scores: Vec<f64>,
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
        Ok(self.draw(logits, context)?.token)
    }

    /// As [`Sampler::sample`], with what it was drawn from.
    pub(super) fn draw(&mut self, logits: &[f32], context: &[u32]) -> Result<Draw> {
        let scores = self.sampling.scores(logits, context)?;
        let token =
            if self.sampling.temperature == 0.0 { argmax(&scores) } else { self.pick(&softmax(&scores)) };
        Ok(Draw { token: token as u32, scores })
    }

    /// An index, as often as its probability says.
    fn pick(&mut self, distribution: &[f64]) -> usize {
        let mut left: f64 = self.rng.random(); // in [0, 1)
        for (id, p) in distribution.iter().enumerate() {
            if left < *p {
                return id;
            }
            left -= p;
        }
        // The sum fell short of 1 by rounding: the likeliest token takes the rest.
        argmax(distribution)
    }
}

#[cfg(test)]
mod tests;
