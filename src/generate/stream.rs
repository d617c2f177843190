//! Generates tokens with a [`Decoder`]: the prompt goes through the model in one pass, then each token alone,
//! with the cache.
//!
//! Any end-of-sequence id ends the generation: a chat model often has several.

use super::likelihood::{Likelihood, likelihoods};
use super::sampling::Draw;
use super::{Decoder, Sampler, Sampling};
use crate::Result;

/// One generated token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The token's id.
    pub token: u32,
    /// The largest logit minus the second largest: the margin of a greedy choice.
    pub gap: f32,
}

/// Why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The last token is an end-of-sequence token.
    EndOfSequence,
    /// The requested number of tokens was generated.
    MaxTokens,
    /// The model's context is full.
    Context,
    /// The text reached a stop string. Only a [`Continuation`](super::Continuation) sees text.
    StopString,
    /// The request's time was over. Only an [`Engine`](crate::engine::Engine) watches the time.
    Deadline,
    /// The forward pass or the sampler failed.
    Error,
}

/// The tokens that follow a prompt, each computed when it is requested.
#[derive(Debug)]
pub struct Generation<D> {
    decoder: D,
    sampler: Sampler,
    /// Logits of the next token, `[vocab]`, until it is drawn; then the logits it was drawn from.
    logits: Vec<f32>,
    /// The last token, until it is fed to the decoder.
    drawn: Option<Draw>,
    ids: Vec<u32>,
    prompt: usize,
    max_tokens: usize,
    eos: Vec<u32>,
    finish: Option<Finish>,
}

impl<D: Decoder> Generation<D> {
    /// Feeds the prompt `ids` to `decoder`, so that the first token can be drawn. Generates at most
    /// `max_tokens`, or up to and including the first token that is in `eos`.
    ///
    /// # Errors
    /// The prompt is empty, outside the vocabulary or longer than the context, or [`Sampling::validate`]
    /// refuses the settings.
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

    /// The ids generated so far, including an end-of-sequence id.
    pub fn generated(&self) -> &[u32] {
        &self.ids[self.prompt..]
    }

    /// Why it ended, or `None` if it has not ended.
    pub fn finish(&self) -> Option<Finish> {
        self.finish
    }

    /// The likelihood of the last token, and of the `others` most likely tokens at its position by the
    /// model's own logits (which may include the last token). `None` before the first token.
    pub fn likelihoods(&self, others: usize) -> Option<(Likelihood, Vec<Likelihood>)> {
        let draw = self.drawn.as_ref()?;
        Some(likelihoods(draw, &self.logits, others))
    }

    /// Draws a token, after feeding the previous one to the decoder.
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

/// The largest logit minus the second largest; 0 for a tie.
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
    fn the_gap_is_between_the_two_largest_logits_at_any_index() {
        assert_eq!(gap(&[1.0, 4.0, 2.5]), 1.5);
        assert_eq!(gap(&[2.5, 1.0, 4.0]), 1.5);
        assert_eq!(gap(&[4.0, 4.0]), 0.0);
    }
}
