//! Turns the logits of one position into a distribution and a token. The processors are those of
//! `transformers`, in its order: logit bias, repetition penalty, temperature, top-k, top-p, min-p. Each one
//! works on what the one before kept. The frequency and presence penalties, which transformers lacks, are those of
//! OpenAI's API; they follow the repetition penalty, as in vLLM.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::processors::{
    argmax, bias, check, keep_min_p, keep_top_k, keep_top_p, penalise, penalise_generated, softmax,
};
use crate::{Error, Result};

/// How tokens are chosen. The default is greedy, without penalty.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 always takes the most likely token and ignores the filters below.
    pub temperature: f64,
    /// Keeps the k most likely tokens, and those that tie with the last of them.
    pub top_k: Option<usize>,
    /// Keeps the smallest set of most likely tokens whose probabilities add up to p. Among tokens that tie,
    /// keeps the highest ids.
    pub top_p: Option<f64>,
    /// Keeps tokens at least this many times as likely as the most likely one.
    pub min_p: Option<f64>,
    /// For tokens that are already in the context, divides positive logits and multiplies negative ones; 1
    /// turns this off.
    pub repetition_penalty: f64,
    /// Subtracted from the logit of a generated token for each time that it was generated; 0 turns this off. Tokens of
    /// the prompt do not count.
    pub frequency_penalty: f64,
    /// Subtracted from the logit of every token that was generated before; 0 turns this off. Tokens of the prompt do not
    /// count.
    pub presence_penalty: f64,
    /// Added to the logits of these tokens before everything else; −∞ excludes the token.
    pub logit_bias: BTreeMap<u32, f64>,
    /// The same seed draws the same tokens from the same logits.
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
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: BTreeMap::new(),
            seed: 0,
        }
    }
}

impl Sampling {
    /// Checks that every setting has a valid value.
    ///
    /// # Errors
    /// The error names the setting and its valid values.
    pub fn validate(&self) -> Result<()> {
        let demand = |holds: bool, name: &str, value: String, hint: &str| {
            if holds { Ok(()) } else { Err(Error::input(format!("{name} {value} is not allowed"), hint)) }
        };
        let (t, penalty) = (self.temperature, self.repetition_penalty);
        let shown = |p: Option<f64>| p.map(|p| p.to_string()).unwrap_or_default();
        demand(
            t.is_finite() && t >= 0.0,
            "temperature",
            t.to_string(),
            "use 0 for greedy, 1 for the model's own, or another positive number",
        )?;
        demand(self.top_k != Some(0), "top-k", "0".into(), "keep at least 1 token, or leave it out")?;
        demand(
            self.top_p.is_none_or(|p| p > 0.0 && p <= 1.0),
            "top-p",
            shown(self.top_p),
            "use a number above 0 and up to 1",
        )?;
        demand(
            self.min_p.is_none_or(|p| (0.0..=1.0).contains(&p)),
            "min-p",
            shown(self.min_p),
            "use a number from 0 to 1",
        )?;
        let usable = penalty.is_finite() && penalty > 0.0;
        demand(
            usable,
            "repetition penalty",
            penalty.to_string(),
            "use a number above 0; 1 means no penalty",
        )?;
        for (name, penalty) in
            [("frequency penalty", self.frequency_penalty), ("presence penalty", self.presence_penalty)]
        {
            demand(penalty.is_finite(), name, penalty.to_string(), "use a number; 0 means no penalty")?;
        }
        for (token, &bias) in &self.logit_bias {
            let usable = !bias.is_nan() && bias < f64::INFINITY;
            let hint = "use a number; -inf excludes the token";
            demand(usable, &format!("logit bias of token {token}"), bias.to_string(), hint)?;
        }
        Ok(())
    }

    /// Checks that every bias is for a token of a vocabulary of this size.
    ///
    /// # Errors
    /// The error names the token that does not exist.
    pub fn fits(&self, vocab: usize) -> Result<()> {
        match self.logit_bias.keys().find(|&&token| token as usize >= vocab) {
            None => Ok(()),
            Some(token) => {
                let what = format!("logit bias of token {token}: there is no such token");
                Err(Error::input(what, format!("ids are 0 to {}", vocab.saturating_sub(1))))
            }
        }
    }

    /// The probability of each token after `context`, given its logits, `[vocab]` → `[vocab]`. All of `context` counts as
    /// generated.
    ///
    /// # Errors
    /// The settings are refused by [`Sampling::validate`] or [`Sampling::fits`], or the logits contain NaN or
    /// +∞, or exclude every token.
    pub fn distribution(&self, logits: &[f32], context: &[u32]) -> Result<Vec<f64>> {
        Ok(softmax(&self.scores(logits, context, context)?))
    }

    /// The logarithms, up to a constant, of [`Sampling::distribution`], `[vocab]`; −∞ for an excluded token. `generated`
    /// is the end of `context` that is not the prompt. Has the same errors.
    fn scores(&self, logits: &[f32], context: &[u32], generated: &[u32]) -> Result<Vec<f64>> {
        self.validate()?;
        self.fits(logits.len())?;
        let mut scores: Vec<f64> = logits.iter().map(|&logit| f64::from(logit)).collect();
        bias(&mut scores, &self.logit_bias);
        penalise(&mut scores, context, self.repetition_penalty);
        penalise_generated(&mut scores, generated, self.frequency_penalty, self.presence_penalty);
        check(&scores)?;
        let best = argmax(&scores);
        if self.temperature == 0.0 {
            let only = |id| if id == best { 0.0 } else { f64::NEG_INFINITY };
            return Ok((0..scores.len()).map(only).collect());
        }
        // The maximum is subtracted first, so that a small temperature can only underflow, not overflow.
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

/// A token, and the scores it was drawn from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Draw {
    pub token: u32,
    /// Processed logits, `[vocab]`; −∞ for an excluded token.
    pub scores: Vec<f64>,
}

/// Draws tokens from one seeded random stream.
#[derive(Debug)]
pub struct Sampler {
    sampling: Sampling,
    /// How many ids at the start of a context are the prompt.
    prompt: usize,
    rng: StdRng,
}

impl Sampler {
    /// Starts the random stream with `sampling.seed`. Every id of a context counts as generated.
    ///
    /// # Errors
    /// The same as for [`Sampling::validate`].
    pub fn new(sampling: Sampling) -> Result<Self> {
        Self::after(sampling, 0)
    }

    /// Like [`Sampler::new`], for contexts that begin with a prompt of `prompt` ids, which were not generated.
    ///
    /// # Errors
    /// The same as for [`Sampling::validate`].
    pub fn after(sampling: Sampling, prompt: usize) -> Result<Self> {
        sampling.validate()?;
        Ok(Self { rng: StdRng::seed_from_u64(sampling.seed), prompt, sampling })
    }

    /// Draws the next token after `context`. With temperature 0 the choice is greedy, and the random stream
    /// does not advance.
    ///
    /// # Errors
    /// The same as for [`Sampling::distribution`].
    pub fn sample(&mut self, logits: &[f32], context: &[u32]) -> Result<u32> {
        Ok(self.draw(logits, context)?.token)
    }

    /// Like [`Sampler::sample`], but also returns the scores that the token was drawn from.
    pub(super) fn draw(&mut self, logits: &[f32], context: &[u32]) -> Result<Draw> {
        let generated = context.get(self.prompt..).unwrap_or_default();
        let scores = self.sampling.scores(logits, context, generated)?;
        let token =
            if self.sampling.temperature == 0.0 { argmax(&scores) } else { self.pick(&softmax(&scores)) };
        Ok(Draw { token: token as u32, scores })
    }

    /// Draws an index with the given probabilities.
    pub(crate) fn pick(&mut self, distribution: &[f64]) -> usize {
        let mut left: f64 = self.rng.random(); // in [0, 1)
        for (id, p) in distribution.iter().enumerate() {
            if left < *p {
                return id;
            }
            left -= p;
        }
        // Rounding made the sum less than 1: the rest belongs to the most likely token.
        argmax(distribution)
    }
}

#[cfg(test)]
mod tests;
