//! The tokens of one sequence: each is drawn from logits, and some draw ends the sequence. Where the logits come from does
//! not matter here.
//!
//! Any end-of-sequence id ends the sequence: a chat model often has several.

use super::likelihood::{Likelihood, likelihoods};
use super::sampling::Draw;
use super::{Sampler, Sampling};
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
    /// The text reached a stop string. Only a [`Text`](super::Text) sees text.
    StopString,
    /// The request's time was over. Only an [`Engine`](crate::engine::Engine) watches the time.
    Deadline,
    /// The forward pass or the sampler failed.
    Error,
}

/// A prompt and the tokens drawn after it.
#[derive(Debug)]
pub struct Tokens {
    sampler: Sampler,
    /// The logits that the last token was drawn from, `[vocab]`.
    logits: Vec<f32>,
    drawn: Option<Draw>,
    ids: Vec<u32>,
    prompt: usize,
    max_tokens: usize,
    eos: Vec<u32>,
    finish: Option<Finish>,
}

impl Tokens {
    /// The tokens after the prompt `ids`: at most `max_tokens`, or up to and including the first that is in `eos`.
    ///
    /// # Errors
    /// [`Sampling::validate`] refuses the settings.
    pub fn new(ids: Vec<u32>, sampling: Sampling, max_tokens: usize, eos: &[u32]) -> Result<Self> {
        let sampler = Sampler::after(sampling, ids.len())?;
        let finish = (max_tokens == 0).then_some(Finish::MaxTokens);
        let (prompt, eos) = (ids.len(), eos.to_vec());
        Ok(Self { sampler, logits: vec![], drawn: None, ids, prompt, max_tokens, eos, finish })
    }

    /// Draws the next token from its logits, `[vocab]`. `room` is the number of tokens that still fit into the context.
    ///
    /// # Errors
    /// Those of [`Sampler::sample`].
    pub fn draw(&mut self, logits: Vec<f32>, room: usize) -> Result<Step> {
        (self.logits, self.drawn) = (logits, None);
        let draw = self.sampler.draw(&self.logits, &self.ids)?;
        let token = draw.token;
        self.ids.push(token);
        self.drawn = Some(draw);
        self.finish = if self.eos.contains(&token) {
            Some(Finish::EndOfSequence)
        } else if self.generated().len() == self.max_tokens {
            Some(Finish::MaxTokens)
        } else if room == 0 {
            Some(Finish::Context)
        } else {
            None
        };
        Ok(Step { token, gap: gap(&self.logits) })
    }

    /// Ends the sequence for a reason that no token shows.
    pub fn end(&mut self, finish: Finish) {
        self.finish = Some(finish);
    }

    /// The prompt's ids.
    pub fn prompt(&self) -> &[u32] {
        &self.ids[..self.prompt]
    }

    /// The ids generated so far, including an end-of-sequence id.
    pub fn generated(&self) -> &[u32] {
        &self.ids[self.prompt..]
    }

    /// The logits that the last token was drawn from, `[vocab]`; empty before the first token.
    pub fn logits(&self) -> &[f32] {
        &self.logits
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
