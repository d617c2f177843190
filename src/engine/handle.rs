//! The engine as its callers see it: a thread that they hand requests to.

use std::sync::Arc;

use super::figures::Figures;
use super::limits::Limits;
use super::request::{Listener, Refusal, Request};
use crate::model::Llama;
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};

/// A model that serves several sequences at once, on a thread of its own.
#[derive(Debug)]
pub struct Engine {}

impl Engine {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`Limits::validate`] refuses the limits, or the system has no thread.
    pub fn start(_model: Arc<Llama>, _tokenizer: Arc<Tokenizer>, limits: Limits) -> Result<Self> {
        limits.validate()?;
        Err(Error::internal("the engine has no thread yet"))
    }

    /// Hands over a request, whose events `listener` will receive.
    ///
    /// # Errors
    /// The request is refused; then `listener` hears nothing.
    pub fn submit(&self, _request: Request, _listener: Box<dyn Listener>) -> Result<(), Refusal> {
        Err(Refusal::Stopping)
    }

    /// What the engine has done, and what it holds now.
    pub fn figures(&self) -> Figures {
        Figures::default()
    }

    /// Accepts no more requests. Sequences that run or wait are finished; then the thread ends.
    pub fn stop(&self) {}

    /// Waits until the thread ends, which it does only after [`Engine::stop`] or a panic.
    ///
    /// # Errors
    /// The thread panicked; the error has the panic's message.
    pub fn join(self) -> Result<()> {
        Ok(())
    }

    /// Whether the thread runs: false after it ended, also by a panic.
    pub fn alive(&self) -> bool {
        false
    }

    /// Checks one of every `every` served requests again when the engine is idle; 0 checks none. The logits that its
    /// tokens were drawn from are compared with those of one pass over its prompt and tokens. The result is in
    /// [`Figures::spot_checked`] and [`Figures::spot_failure`].
    pub fn spot_check(&self, _every: usize) {}
}
