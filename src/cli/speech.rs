//! Token ids → text on standard output, as they come.

use std::time::{Duration, Instant};

use rbees_check::Result;
use rbees_check::generate::{Generation, OnCache, Sampling};
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

/// Reads `prompt`, writes `first`, then the continuation, never half a character of it, until it ends
/// or nobody reads on.
pub fn stream(
    llama: &Llama,
    tokenizer: &Tokenizer,
    prompt: Vec<u32>,
    first: &str,
    sampling: Sampling,
    max_tokens: usize,
    out: &mut Out,
) -> Result<Spoken> {
    let (begin, eos) = (Instant::now(), &llama.config.eos_token_ids);
    let mut text = tokenizer.stream(true);
    for &id in &prompt {
        text.push(id)?; // said already, but what follows is not the start of a text
    }
    let mut spoken =
        Spoken { prompt: prompt.len(), reading: Duration::ZERO, tokens: 0, speaking: Duration::ZERO };
    let generation = Generation::start(OnCache::new(llama), prompt, sampling, max_tokens, eos)?;
    out.text(first)?;
    for step in generation {
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
    out.text(&text.finish()?)?;
    Ok(spoken)
}

/// What `run all` ends with, once all is well: the model says something.
pub fn sample(model: &Model, llama: &Llama, out: &mut Out) -> Result<()> {
    // A vocabulary this small is that of our tiny models, which have read one book.
    let (prompt, sampling) = match llama.config.vocab_size < 1024 {
        true => (
            "And the king said unto",
            Sampling { temperature: 0.65, top_p: Some(0.9), ..Sampling::default() },
        ),
        false => ("The capital of France is", Sampling::default()),
    };
    let ids = model.tokenizer.encode(prompt, true)?;
    let spoken = stream(llama, &model.tokenizer, ids, prompt, sampling, 58, out)?;
    out.line(format!("\n{}\n", spoken.speed()))
}
