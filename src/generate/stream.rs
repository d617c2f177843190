//! Generates tokens with a [`Decoder`]: the prompt goes through the model in one pass, then each token alone,
//! with the cache.

use super::tokens::{Finish, Step, Tokens};
use super::{Decoder, Likelihood, Sampling};
use crate::Result;

/// The tokens that follow a prompt, each computed when it is requested.
#[derive(Debug)]
pub struct Generation<D> {
    decoder: D,
    tokens: Tokens,
    /// The logits after the prompt, `[vocab]`, until the first token is drawn from them.
    first: Option<Vec<f32>>,
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
        let tokens = Tokens::new(ids, sampling, max_tokens, eos)?;
        let first = Some(decoder.feed(tokens.prompt())?);
        Ok(Self { decoder, tokens, first })
    }

    /// The prompt's ids.
    pub fn prompt(&self) -> &[u32] {
        self.tokens.prompt()
    }

    /// The ids generated so far, including an end-of-sequence id.
    pub fn generated(&self) -> &[u32] {
        self.tokens.generated()
    }

    /// Why it ended, or `None` if it has not ended.
    pub fn finish(&self) -> Option<Finish> {
        self.tokens.finish()
    }

    /// See [`Tokens::likelihoods`].
    pub fn likelihoods(&self, others: usize) -> Option<(Likelihood, Vec<Likelihood>)> {
        self.tokens.likelihoods(others)
    }

    /// Draws a token, after feeding the previous one to the decoder.
    fn step(&mut self) -> Result<Step> {
        let logits = match (self.first.take(), self.generated()) {
            (Some(first), _) => first,
            (None, [.., last]) => self.decoder.feed(&[*last])?,
            (None, []) => self.decoder.feed(&[])?, // refused: only after a first draw that failed
        };
        self.tokens.draw(logits, self.decoder.room())
    }
}

impl<D: Decoder> Iterator for Generation<D> {
    type Item = Result<Step>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finish().is_some() {
            return None;
        }
        let step = self.step();
        if step.is_err() {
            self.tokens.end(Finish::Error);
        }
        Some(step)
    }
}
