//! What a caller asks of the engine, and what it hears.

use std::time::Instant;

use crate::Error;
use crate::generate::{Finish, Likelihood, Sampling, Step};

/// What one sequence asks for.
#[derive(Clone, Debug)]
pub struct Request {
    /// Token ids, at least one.
    pub prompt: Vec<u32>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// The largest number of tokens to generate.
    pub max_tokens: usize,
    /// The ids that end the sequence.
    pub end: Vec<u32>,
    /// The strings that end the text.
    pub stops: Vec<String>,
    /// Report likelihoods, with this many of the most likely tokens.
    pub others: Option<usize>,
    /// When the sequence ends, finished or not.
    pub deadline: Option<Instant>,
}

/// One generated token, with the text that became certain with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// The token.
    pub step: Step,
    /// Often the token's own text; see [`Piece`](crate::generate::Piece).
    pub text: String,
    /// Its likelihood, and those of the most likely tokens, if the request asks for them.
    pub likelihoods: Option<(Likelihood, Vec<Likelihood>)>,
}

/// What happens to a sequence, in order: `Started` once, `Token` any number of times, and at the end `Finished` or
/// `Failed`. A sequence can end without having started.
#[derive(Debug)]
pub enum Event {
    /// The prompt was read.
    Started {
        /// How many of its tokens were in a kept cache.
        reused: usize,
    },
    /// A token was generated.
    Token(Token),
    /// The sequence ended.
    Finished(Finish),
    /// The sequence failed.
    Failed(Error),
}

/// Receives a sequence's events, on the engine's thread: it must not block.
pub trait Listener: Send {
    /// Receives the next event.
    fn hear(&mut self, event: Event);

    /// Whether nobody waits for this sequence any more. The engine asks before every step, also while the sequence
    /// waits for a place, and then drops the sequence without another event.
    fn gone(&self) -> bool;
}

/// Why a request was not accepted.
#[derive(Debug)]
pub enum Refusal {
    /// As many sequences are waiting as [`Limits::waiting`](super::Limits::waiting) allows.
    Full,
    /// The engine accepts no more requests.
    Stopping,
    /// The prompt does not fit into the model's context, or the sequence does not fit into the memory for caches.
    TooLong {
        /// The number of tokens that it needs.
        tokens: usize,
        /// The largest number of tokens that fits.
        limit: usize,
    },
    /// A setting or a token id cannot be used.
    Bad(Error),
}
