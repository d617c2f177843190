//! Stands on a [`Decoder`]: the prompt goes through in one pass, then each token alone on the cache.
//!
//! Every end-of-sequence id ends it: a chat model often has several.

use super::likelihood::{Likelihood, likelihoods};
use super::sampling::Draw;
use super::{Decoder, Sampler, Sampling};
use crate::Result;

/// One generated token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Its id.
    pub token: u32,
    /// The largest logit less the second: how narrowly greedy choice decided.
    pub gap: f32,
}

/// Why no more tokens come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The last token ends the text.
    EndOfSequence,
    /// As many tokens as asked for.
    MaxTokens,
    /// The model's context is full.
    Context,
    /// The text came to a stop string. Only a [`Continuation`](super::Continuation) sees text.
    StopString,
    /// The forward pass or the sampler failed.
    Error,
}

/// Tokens that follow a prompt, computed one by one as they are asked for.
#[derive(Debug)]
pub struct Generation<D> {
    decoder: D,
    sampler: Sampler,
    /// Of the next token, `[vocab]`, until it is drawn; then what it was drawn from.
    logits: Vec<f32>,
    /// The last token, until it is fed.
    drawn: Option<Draw>,
    ids: Vec<u32>,
    prompt: usize,
    max_tokens: usize,
    eos: Vec<u32>,
    finish: Option<Finish>,
}

impl<D: Decoder> Generation<D> {
    /// Feeds the prompt `ids` to `decoder`, so that the first token waits to be drawn. At most
    /// `max_tokens` follow, or up to and including the first that is in `eos`.
    ///
    /// # Errors
    /// When the prompt is empty, outside the vocabulary or longer than the context, and for
    /// settings that [`Sampling::validate`] refuses.
    pub fn start(
        mut decoder: D,
        ids: Vec<u32>,
        sampling: Sampling,
        max_tokens: usize,
        eos: &[u32],
    ) -> Result<Self> {
        let sampler = Sampler::new(sampling)?;
        let logits = decoder.feed(&ids)?;
        let finish = (max_tokens == 0).then_some(Finish::MaxTokens);
        let (prompt, eos) = (ids.len(), eos.to_vec());
        Ok(Self { decoder, sampler, logits, drawn: None, prompt, ids, max_tokens, eos, finish })
    }

    /// The prompt's ids.
    pub fn prompt(&self) -> &[u32] {
        &self.ids[..self.prompt]
    }

    /// The ids drawn so far, an end-of-sequence id included.
    pub fn generated(&self) -> &[u32] {
        &self.ids[self.prompt..]
    }

    /// Why it ended, once it has.
    pub fn finish(&self) -> Option<Finish> {
        self.finish
    }

    /// How likely the last token was, and the `others` likeliest tokens of its place by the model's
    /// own logits, the last token among them if it is one. None before the first token.
    pub fn likelihoods(&self, others: usize) -> Option<(Likelihood, Vec<Likelihood>)> {
        let draw = self.drawn.as_ref()?;
        Some(likelihoods(draw, &self.logits, others))
    }

    /// Draws a token, feeding the one before it first.
    fn step(&mut self) -> Result<Step> {
        if let Some(last) = self.drawn.take() {
            self.logits = self.decoder.feed(&[last.token])?;
        }
        let draw = self.sampler.draw(&self.logits, &self.ids)?;
        let token = draw.token;
        self.ids.push(token);
        self.drawn = Some(draw);
        self.finish = if self.eos.contains(&token) {
            Some(Finish::EndOfSequence)
        } else if self.generated().len() == self.max_tokens {
            Some(Finish::MaxTokens)
        } else if self.decoder.room() == 0 {
            Some(Finish::Context)
        } else {
            None
        };
        Ok(Step { token, gap: gap(&self.logits) })
    }
}

impl<D: Decoder> Iterator for Generation<D> {
    type Item = Result<Step>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finish.is_some() {
            return None;
        }
        let step = self.step();
        if step.is_err() {
            self.finish = Some(Finish::Error);
        }
        Some(step)
    }
}

/// The largest logit less the second; 0 for a tie.
fn gap(logits: &[f32]) -> f32 {
    let (first, second) =
        logits.iter().fold((f32::NEG_INFINITY, f32::NEG_INFINITY), |(first, second), &x| match x {
            x if x > first => (x, first),
            x => (first, second.max(x)),
        });
    first - second
}

#[cfg(test)]
mod tests {
    use super::gap;

    #[test]
    fn the_gap_is_between_the_two_largest_wherever_they_stand() {
        assert_eq!(gap(&[1.0, 4.0, 2.5]), 1.5);
        assert_eq!(gap(&[2.5, 1.0, 4.0]), 1.5);
        assert_eq!(gap(&[4.0, 4.0]), 0.0);
    }
}
