//! Generates text and writes it to standard output as it is produced.

use std::time::{Duration, Instant};

use rbees_check::Result;
use rbees_check::generate::{Continuation, Generation, OnCache, Piece, Sampling, Stops};
use rbees_check::model::Llama;
use rbees_check::models::Model;
use rbees_check::tokenizer::Tokenizer;

use super::paint::Out;

/// How much text was generated, and how long it took.
#[derive(Clone, Copy, Debug)]
pub struct Timings {
    /// Number of prompt tokens.
    pub prompt: usize,
    /// Time until the first token.
    pub before_first: Duration,
    /// Number of generated tokens.
    pub tokens: usize,
    /// Time from the first token to the last.
    pub after_first_token: Duration,
}

impl Timings {
    /// `48 tokens, 812 tokens/s`.
    pub fn speed(&self) -> String {
        let after_first = self.tokens.saturating_sub(1);
        let plural = if self.tokens == 1 { "" } else { "s" };
        match self.after_first_token.as_secs_f64() {
            seconds if after_first > 0 && seconds > 0.0 => {
                format!("{} token{plural}, {:.0} tokens/s", self.tokens, after_first as f64 / seconds)
            }
            _ => format!("{} token{plural}", self.tokens),
        }
    }
}

/// A prompt, and how to continue it.
pub struct Request {
    /// Token ids of the prompt.
    pub prompt: Vec<u32>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Where the text ends.
    pub stops: Stops,
    /// Maximum number of tokens to generate.
    pub max_tokens: usize,
}

/// The continuation of a prompt, piece by piece, with timings.
pub struct TimedText<'a> {
    /// The pieces of text, without timings.
    pub continuation: Continuation<'a, OnCache<'a>>,
    /// Counts and timings so far.
    pub timings: Timings,
    begin: Instant,
}

impl<'a> TimedText<'a> {
    /// Reads the prompt.
    pub fn begin(llama: &'a Llama, tokenizer: &'a Tokenizer, request: Request) -> Result<Self> {
        let Request { prompt, sampling, stops, max_tokens } = request;
        let timings = Timings {
            prompt: prompt.len(),
            before_first: Duration::ZERO,
            tokens: 0,
            after_first_token: Duration::ZERO,
        };
        let begin = Instant::now();
        let eos = &llama.config.eos_token_ids;
        let generation = Generation::start(OnCache::new(llama), prompt, sampling, max_tokens, eos)?;
        Ok(Self { continuation: Continuation::new(generation, tokenizer, stops)?, timings, begin })
    }

    /// Writes all of it, until it ends or the reader closes the stream.
    pub fn write(mut self, out: &mut Out) -> Result<Timings> {
        while !out.closed()
            && let Some(piece) = self.next()
        {
            out.text(&piece?.text)?;
        }
        Ok(self.timings)
    }
}

impl Iterator for TimedText<'_> {
    type Item = Result<Piece>;

    fn next(&mut self) -> Option<Self::Item> {
        let piece = self.continuation.next()?;
        if self.timings.tokens == 0 {
            self.timings.before_first = self.begin.elapsed();
        }
        self.timings.tokens += 1;
        self.timings.after_first_token = self.begin.elapsed() - self.timings.before_first;
        Some(piece)
    }
}

/// The text that `run all` generates if every checkpoint passes.
pub fn sample(model: &Model, llama: &Llama, out: &mut Out) -> Result<()> {
    // Only our tiny models have a vocabulary this small; they were trained on a single book.
    let (prompt, sampling) = if llama.config.vocab_size < 1024 {
        ("And the king said unto", Sampling { temperature: 0.65, top_p: Some(0.9), ..Sampling::default() })
    } else {
        ("The capital of France is", Sampling::default())
    };
    let ids = model.tokenizer()?.encode(prompt, true)?;
    let request = Request { prompt: ids, sampling, stops: Stops::new(vec![])?, max_tokens: 58 };
    let timed_text = TimedText::begin(llama, model.tokenizer()?, request)?;
    out.text(prompt)?;
    let timings = timed_text.write(out)?;
    out.line(format!("\n{}\n", timings.speed()))
}
