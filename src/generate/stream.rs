//! Stands on [`Llama::hidden`] and [`Llama::logits`]: the prompt goes through in one pass, then
//! each token alone on the cache, and logits are made for the last position only.
//!
//! Positions go on from the prompt's, and every end-of-sequence id ends it: a chat model often has
//! several.

use candle_core::DType;

use super::{Sampler, Sampling};
use crate::Result;
use crate::model::{Cache, Input, Llama};

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
    /// The forward pass or the sampler failed.
    Error,
}

/// Tokens that follow a prompt, computed one by one as they are asked for.
#[derive(Debug)]
pub struct Generation<'a> {
    llama: &'a Llama,
    cache: Cache,
    sampler: Sampler,
    /// Of the next token, `[vocab]`; none while the last token has not been fed.
    logits: Option<Vec<f32>>,
    ids: Vec<u32>,
    prompt: usize,
    max_tokens: usize,
    eos: Vec<u32>,
    finish: Option<Finish>,
}

impl<'a> Generation<'a> {
    /// Feeds the prompt `ids` through the model, so that the first token waits to be drawn. At most
    /// `max_tokens` follow, or up to and including the first that is in `eos`.
    ///
    /// # Errors
    /// When the prompt is empty, outside the vocabulary or longer than the context, and for
    /// settings that [`Sampling::validate`] refuses.
    pub fn start(
        llama: &'a Llama,
        ids: Vec<u32>,
        sampling: Sampling,
        max_tokens: usize,
        eos: &[u32],
    ) -> Result<Self> {
        let mut generation = Self {
            sampler: Sampler::new(sampling)?,
            cache: llama.new_cache(),
            llama,
            logits: None,
            prompt: ids.len(),
            max_tokens,
            eos: eos.to_vec(),
            finish: (max_tokens == 0).then_some(Finish::MaxTokens),
            ids,
        };
        generation.feed()?;
        Ok(generation)
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

    /// Feeds the ids that the cache does not hold and keeps the last one's logits.
    fn feed(&mut self) -> Result<()> {
        let start = self.cache.len();
        let input = Input::single(&self.ids[start..], start);
        let hidden = self.llama.hidden(&input, &mut self.cache, &mut ())?; // [1, s, hidden]
        let last = hidden.narrow(1, input.len() - 1, 1)?; // [1, 1, hidden]
        let logits = self.llama.logits(&last, &mut ())?; // [1, 1, vocab]
        self.logits = Some(logits.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?);
        Ok(())
    }

    /// Draws a token, feeding the one before it first.
    fn step(&mut self) -> Result<Step> {
        if self.logits.is_none() {
            self.feed()?;
        }
        let logits = self.logits.take().unwrap_or_default();
        let token = self.sampler.sample(&logits, &self.ids)?;
        self.ids.push(token);
        self.finish = if self.eos.contains(&token) {
            Some(Finish::EndOfSequence)
        } else if self.generated().len() == self.max_tokens {
            Some(Finish::MaxTokens)
        } else if self.cache.room() == 0 {
            Some(Finish::Context)
        } else {
            None
        };
        Ok(Step { token, gap: gap(&logits) })
    }
}

impl Iterator for Generation<'_> {
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
