//! Token ids → text on standard output, as they come.

use std::time::{Duration, Instant};

use rbees_check::Result;
use rbees_check::generate::{Generation, Sampling};
use rbees_check::model::Llama;
use rbees_check::models::Model;
use rbees_check::tokenizer::Tokenizer;

use super::paint::Out;

/// How much was said, and how long it took.
pub struct Spoken {
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Until the first token.
    pub reading: Duration,
    /// Tokens generated.
    pub tokens: usize,
    /// From the first token to the last.
    pub speaking: Duration,
}

impl Spoken {
    /// `48 tokens, 812 tokens/s`.
    pub fn speed(&self) -> String {
        let after_first = self.tokens.saturating_sub(1);
        let plural = if self.tokens == 1 { "" } else { "s" };
        match self.speaking.as_secs_f64() {
            seconds if after_first > 0 && seconds > 0.0 => {
                format!("{} token{plural}, {:.0} tokens/s", self.tokens, after_first as f64 / seconds)
            }
            _ => format!("{} token{plural}", self.tokens),
        }
    }
}

/// Continues `prompt` and writes the continuation, never half a character of it, until it ends or
/// nobody reads on.
pub fn stream(
    llama: &Llama,
    tokenizer: &Tokenizer,
    prompt: Vec<u32>,
    sampling: Sampling,
    max_tokens: usize,
    out: &mut Out,
) -> Result<Spoken> {
    let (begin, eos) = (Instant::now(), &llama.config.eos_token_ids);
    let mut text = Text::after(tokenizer, &prompt);
    let mut spoken =
        Spoken { prompt: prompt.len(), reading: Duration::ZERO, tokens: 0, speaking: Duration::ZERO };
    for step in Generation::start(llama, prompt, sampling, max_tokens, eos)? {
        let token = step?.token;
        if spoken.tokens == 0 {
            spoken.reading = begin.elapsed();
        }
        spoken.tokens += 1;
        spoken.speaking = begin.elapsed() - spoken.reading;
        if eos.contains(&token) || out.closed() {
            break;
        }
        out.text(&text.push(token)?)?;
    }
    out.text(&text.rest()?)?;
    Ok(spoken)
}

/// What `run all` ends with, once all is well: the model says something.
pub fn sample(model: &Model, llama: &Llama, out: &mut Out) -> Result<()> {
    let tiny = model.name.starts_with("tiny");
    let (prompt, sampling) = match tiny {
        true => (
            "And the king said unto ",
            Sampling { temperature: 0.7, top_p: Some(0.9), seed: 1611, ..Sampling::default() },
        ),
        false => ("The capital of France is", Sampling::default()),
    };
    let ids = model.tokenizer.encode(prompt, true)?;
    out.text(prompt)?;
    let spoken = stream(llama, &model.tokenizer, ids, sampling, 64, out)?;
    out.line(format!("\n{}\n", spoken.speed()))
}

/// Text of ids that come one by one. A character may need several tokens, and a token's text may
/// depend on the one before it: so a few ids back are decoded again each time, and what is new is
/// handed out once it is whole.
struct Text<'a> {
    tokenizer: &'a Tokenizer,
    ids: Vec<u32>,
    /// Where decoding starts.
    from: usize,
    /// Ids whose text was handed out.
    said: usize,
}

impl<'a> Text<'a> {
    fn after(tokenizer: &'a Tokenizer, prompt: &[u32]) -> Self {
        Self { tokenizer, ids: prompt.to_vec(), from: prompt.len().saturating_sub(8), said: prompt.len() }
    }

    /// The text that `id` completes.
    fn push(&mut self, id: u32) -> Result<String> {
        self.ids.push(id);
        let new = self.unsaid()?;
        // The replacement character stands for the bytes of an unfinished one.
        if new.is_empty() || new.ends_with('\u{fffd}') {
            return Ok(String::new());
        }
        (self.from, self.said) = (self.said, self.ids.len());
        Ok(new)
    }

    /// What was held back, whole or not.
    fn rest(&mut self) -> Result<String> {
        self.unsaid()
    }

    fn unsaid(&self) -> Result<String> {
        let before = self.tokenizer.decode(&self.ids[self.from..self.said])?;
        let all = self.tokenizer.decode(&self.ids[self.from..])?;
        Ok(all.get(before.len()..).unwrap_or_default().to_owned())
    }
}
