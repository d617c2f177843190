//! The engine as its callers see it: a thread that they hand requests to.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use super::figures::Figures;
use super::limits::Limits;
use super::request::{Listener, Refusal, Request};
use super::scheduler::Scheduler;
use super::shared::{Shared, Waiting, reserved};
use super::worker::Worker;
use crate::generate::Stops;
use crate::model::{Input, Llama};
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};

/// The most tokens of a prompt in one step. More would not make a prompt faster, and other sequences wait as long as a
/// step takes.
const PIECE: usize = 128;

/// A model that serves several sequences at once, on a thread of its own. If it is dropped, it stops.
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    model: Arc<Llama>,
    limits: Limits,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Engine {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`Limits::validate`] refuses the limits, or the system has no thread.
    pub fn start(model: Arc<Llama>, tokenizer: Arc<Tokenizer>, limits: Limits) -> Result<Self> {
        limits.validate()?;
        let piece = PIECE.min(limits.step_tokens - limits.running);
        let scheduler = Scheduler::new(model.clone(), piece, limits.step_tokens);
        let shared = Arc::new(Shared::default());
        let serve = {
            let shared = shared.clone();
            move || serve(&shared, &tokenizer, limits, scheduler)
        };
        let thread = Builder::new().name("engine".into()).spawn(serve);
        let thread = thread.map_err(|error| Error::internal(format!("no thread for the engine: {error}")))?;
        Ok(Self { shared, model, limits, thread: Some(thread) })
    }

    /// Hands over a request, whose events `listener` will receive.
    ///
    /// # Errors
    /// The request is refused; then `listener` hears nothing.
    pub fn submit(&self, request: Request, listener: Box<dyn Listener>) -> Result<(), Refusal> {
        self.check(&request)?;
        let mut state = self.shared.lock();
        if state.stopping || state.ended {
            return Err(Refusal::Stopping);
        }
        // A request that finds a free place waits only until the next step.
        if state.waiting.len() + state.figures.running >= self.limits.waiting + self.limits.running {
            return Err(Refusal::Full);
        }
        state.waiting.push_back(Waiting { request, listener });
        state.figures.waiting = state.waiting.len();
        drop(state);
        self.shared.wake();
        Ok(())
    }

    /// Checks what can be checked before the request has its turn.
    fn check(&self, request: &Request) -> Result<(), Refusal> {
        let config = &self.model.config;
        let bad = |checked: Result<()>| checked.map_err(Refusal::Bad);
        bad(Input::single(&request.prompt, 0).check(config.vocab_size))?;
        bad(request.sampling.validate())?;
        bad(request.sampling.fits(config.vocab_size))?;
        bad(Stops::new(request.stops.clone()).map(|_| ()))?;
        let (prompt, context) = (request.prompt.len(), config.max_position_embeddings);
        let needs = reserved(prompt, request.max_tokens, context);
        for (tokens, limit) in [(prompt, context), (needs, self.limits.cache_tokens)] {
            if tokens > limit {
                return Err(Refusal::TooLong { tokens, limit });
            }
        }
        Ok(())
    }

    /// What the engine has done, and what it holds now.
    pub fn figures(&self) -> Figures {
        self.shared.lock().figures.clone()
    }

    /// Accepts no more requests. Sequences that run or wait are finished; then the thread ends.
    pub fn stop(&self) {
        self.shared.lock().stopping = true;
        self.shared.wake();
    }

    /// Waits until the thread ends, which it does only after [`Engine::stop`] or a panic.
    ///
    /// # Errors
    /// The thread panicked; the error has the panic's message.
    pub fn join(mut self) -> Result<()> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().unwrap_or_else(|panic| Err(panicked(&*panic)))
    }

    /// Whether the thread runs: false after it ended, also by a panic.
    pub fn alive(&self) -> bool {
        !self.shared.lock().ended
    }

    /// Checks one of every `every` served requests again when the engine is idle; 0 checks none. The logits that its
    /// tokens were drawn from are compared with those of one pass over its prompt and tokens. The result is in
    /// [`Figures::spot_checked`] and [`Figures::spot_failure`].
    pub fn spot_check(&self, every: usize) {
        self.shared.lock().spot_every = every;
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The thread: serves until the engine stops. After a panic, every listener hears that its sequence failed.
fn serve(shared: &Shared, tokenizer: &Tokenizer, limits: Limits, scheduler: Scheduler) -> Result<()> {
    let mut worker = Worker::new(shared, tokenizer, limits, scheduler);
    let result = catch_unwind(AssertUnwindSafe(|| worker.serve())).map_err(|panic| panicked(&*panic));
    shared.lock().ended = true;
    if let Err(error) = &result {
        worker.abandon(&error.to_string());
    }
    result
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("without a message");
    Error::internal(format!("the engine's thread panicked: {text}"))
}
