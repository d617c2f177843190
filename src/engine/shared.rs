//! What the engine's thread and its callers share.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::figures::Figures;
use super::request::{Listener, Request};

/// The queue and the figures.
#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The content of [`Shared`].
#[derive(Debug, Default)]
pub(super) struct State {
    /// Requests that wait for a place, in the order in which they came.
    pub waiting: VecDeque<Waiting>,
    /// No more requests are accepted.
    pub stopping: bool,
    /// The thread has ended.
    pub ended: bool,
    /// What the engine counts.
    pub figures: Figures,
    /// One of this many requests is checked again; 0 for none.
    pub spot_every: usize,
}

/// A request that waits for a place.
pub(super) struct Waiting {
    pub request: Request,
    pub listener: Box<dyn Listener>,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("request", &self.request).finish_non_exhaustive()
    }
}

impl Shared {
    /// The state. A panic while it was locked cannot leave it half changed: nothing that is done with it can panic.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the thread.
    pub fn wake(&self) {
        self.changed.notify_all();
    }

    /// Whether no more requests are accepted.
    pub fn is_stopping(&self) -> bool {
        self.lock().stopping
    }

    /// Waits until a request comes or the engine stops; returns whether a request waits.
    pub fn wait(&self) -> bool {
        let nothing = |state: &mut State| state.waiting.is_empty() && !state.stopping;
        let state = self.changed.wait_while(self.lock(), nothing).unwrap_or_else(PoisonError::into_inner);
        !state.waiting.is_empty()
    }
}

/// The number of tokens that the cache of a sequence may get: those of the prompt, and all that it may generate.
pub(super) fn reserved(prompt: usize, max_tokens: usize, context: usize) -> usize {
    prompt.saturating_add(max_tokens).min(context)
}
