//! How much the engine may run, hold and keep.

use crate::{Error, Result};

/// The limits of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The number of sequences that run at once.
    pub running: usize,
    /// The number of sequences that wait for a place.
    pub waiting: usize,
    /// The number of rows of one step, more than `running`: one for each sequence that decodes, the rest for prompts.
    pub step_tokens: usize,
    /// The number of tokens in all caches together. A sequence reserves room for its prompt and all tokens that it may
    /// generate before it starts.
    pub cache_tokens: usize,
    /// The number of caches that are kept after their sequence ended, for the next turn of a conversation.
    pub kept: usize,
}

impl Limits {
    /// Checks that a sequence can run within these limits.
    ///
    /// # Errors
    /// The error names the limit that is too small.
    pub fn validate(&self) -> Result<()> {
        let &Self { running, step_tokens, cache_tokens, .. } = self;
        if running == 0 {
            return Err(Error::input("no sequence may run", "allow at least 1 to run"));
        }
        if step_tokens <= running {
            let what =
                format!("a step of {step_tokens} tokens has no room for a prompt beside {running} sequences");
            return Err(Error::input(what, "allow more tokens in a step than sequences that run at once"));
        }
        if cache_tokens == 0 {
            return Err(Error::input(
                "the caches have no room for a token",
                "allow at least the context length",
            ));
        }
        Ok(())
    }
}
