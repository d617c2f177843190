//! The engine's thread: admits requests, runs steps, and tells the listeners.

use std::time::Instant;

use super::limits::Limits;
use super::plan::Plan;
use super::request::Event;
use super::running::{Next, Running};
use super::scheduler::Scheduler;
use super::shared::{Shared, State, Waiting, reserved};
use super::spot::{SpotChecks, Verdict};
use crate::Error;
use crate::generate::Finish;
use crate::tokenizer::Tokenizer;

/// The state of the thread.
pub(super) struct Worker<'a> {
    shared: &'a Shared,
    tokenizer: &'a Tokenizer,
    limits: Limits,
    scheduler: Scheduler,
    running: Vec<Running<'a>>,
    /// How many requests were admitted.
    admitted: usize,
    spot: SpotChecks,
}

impl<'a> Worker<'a> {
    /// A thread without sequences.
    pub fn new(shared: &'a Shared, tokenizer: &'a Tokenizer, limits: Limits, scheduler: Scheduler) -> Self {
        Self {
            shared,
            tokenizer,
            limits,
            scheduler,
            running: vec![],
            admitted: 0,
            spot: SpotChecks::default(),
        }
    }

    /// Serves until the engine stops and no sequence is left.
    pub fn serve(&mut self) {
        loop {
            self.leave();
            self.admit();
            if !self.running.is_empty() {
                self.step();
            } else if self.spot.is_empty() || self.shared.is_stopping() {
                if !self.shared.wait() {
                    return; // The engine stops, and nothing waits.
                }
            } else {
                self.check_again();
            }
        }
    }

    /// Ends sequences that nobody waits for, and those whose time is over.
    fn leave(&mut self) {
        let now = Instant::now();
        let leaves = |running: &Running<'_>| running.gone() || running.expired(now);
        while let Some(at) = self.running.iter().position(leaves) {
            self.end(at, Event::Finished(Finish::Deadline), true);
        }
        let expired = |waiting: &Waiting| waiting.request.deadline.is_some_and(|deadline| deadline <= now);
        let mut state = self.shared.lock();
        let (leaving, staying) = std::mem::take(&mut state.waiting)
            .into_iter()
            .partition(|waiting| waiting.listener.gone() || expired(waiting));
        state.waiting = staying;
        drop(state);
        for mut waiting in Vec::from(leaving) {
            if !waiting.listener.gone() {
                waiting.listener.hear(Event::Finished(Finish::Deadline));
            }
        }
        self.count(|_| {});
    }

    /// Gives places to requests, in the order in which they came, as long as there are places and room in the caches.
    fn admit(&mut self) {
        while let Some(Waiting { request, listener }) = self.next() {
            let reserved = reserved(request.prompt.len(), request.max_tokens, self.context());
            let opened = match self.scheduler.open(&request.prompt) {
                Ok(opened) => opened,
                Err(error) => {
                    let mut listener = listener;
                    listener.hear(Event::Failed(error));
                    continue;
                }
            };
            let read = request.prompt.len() - opened.reused;
            let place = (opened.sequence, opened.reused, reserved);
            match Running::new(request, listener, self.tokenizer, place) {
                Ok(mut sequence) => {
                    self.admitted += 1;
                    let every = self.shared.lock().spot_every;
                    if every > 0 && self.admitted.is_multiple_of(every) {
                        sequence.capture();
                    }
                    self.running.push(sequence);
                }
                Err((mut listener, error)) => {
                    self.close(opened.sequence, false);
                    listener.hear(Event::Failed(error));
                }
            }
            self.evict();
            self.count(|state| {
                state.figures.prompt_tokens += read as u64;
                state.figures.reused_tokens += opened.reused as u64;
            });
        }
    }

    /// The next request, if there is a place for it.
    fn next(&self) -> Option<Waiting> {
        let mut state = self.shared.lock();
        let request = &state.waiting.front()?.request;
        let reserved = reserved(request.prompt.len(), request.max_tokens, self.context());
        let fits = self.reserved() + reserved <= self.limits.cache_tokens;
        if !fits || self.running.len() >= self.limits.running {
            return None;
        }
        // It runs from now on: no moment must exist in which it neither waits nor runs.
        state.figures.running += 1;
        state.waiting.pop_front()
    }

    /// Runs one step.
    fn step(&mut self) {
        let plan = self.scheduler.plan();
        // Operations are divided among the threads of rayon's pool. If the caller is one of them, it does not fall asleep
        // at each of some 500 operations.
        let sampled = rayon::scope(|_| self.scheduler.run(&plan, &mut ()));
        self.count(|state| state.figures.steps += 1);
        match sampled {
            Err(error) => self.fail(&plan, &error),
            Ok(sampled) => {
                for one in sampled {
                    self.advance(one.sequence, one.logits);
                }
            }
        }
    }

    /// Continues the sequence that has these logits.
    fn advance(&mut self, sequence: usize, logits: Vec<f32>) {
        let Some(at) = self.running.iter().position(|running| running.sequence == sequence) else { return };
        let room = self.scheduler.room(sequence);
        let before = self.running[at].generated();
        let next = self.running[at].advance(logits, room);
        let generated = self.running[at].generated() - before;
        self.count(|state| state.figures.generated += generated as u64);
        match next {
            Next::Feed(token) => {
                if let Err(error) = self.scheduler.push(sequence, token) {
                    self.end(at, Event::Failed(error), false);
                }
            }
            Next::Ended(event) => {
                let captured = self.running[at].captured();
                captured.into_iter().for_each(|captured| self.spot.add(captured));
                self.end(at, event, true);
            }
        }
    }

    /// Ends a sequence: first frees its place, then tells the listener, unless that is gone. The cache is kept if it is
    /// `whole`.
    fn end(&mut self, at: usize, event: Event, whole: bool) {
        let running = self.running.remove(at);
        self.close(running.sequence, whole);
        self.count(|_| {});
        let mut listener = running.into_listener();
        if !listener.gone() {
            listener.hear(event);
        }
    }

    /// Runs a part of a check of a request that was served.
    fn check_again(&mut self) {
        let (model, spot) = (&self.scheduler.model, &mut self.spot);
        let verdict = rayon::scope(|_| spot.run(model)).unwrap_or_else(|error| {
            Some(Verdict::Differs(format!("the model cannot repeat a request that it served: {error}")))
        });
        self.count(|state| match verdict {
            None => {}
            Some(Verdict::Unclear) => state.figures.spot_unclear += 1,
            Some(Verdict::Same) => state.figures.spot_checked += 1,
            Some(Verdict::Differs(how)) => {
                state.figures.spot_checked += 1;
                state.figures.spot_failure.get_or_insert(how);
            }
        });
    }

    /// Fails every sequence of a step.
    fn fail(&mut self, plan: &Plan, error: &Error) {
        for part in &plan.parts {
            if let Some(at) = self.running.iter().position(|running| running.sequence == part.sequence) {
                self.end(at, Event::Failed(error.copy()), false);
            }
        }
    }

    /// Fails every sequence, because the thread ends.
    pub fn abandon(&mut self, why: &str) {
        let waiting = std::mem::take(&mut self.shared.lock().waiting);
        let mut listeners: Vec<_> = waiting.into_iter().map(|waiting| waiting.listener).collect();
        listeners.extend(self.running.drain(..).map(Running::into_listener));
        for mut listener in listeners {
            // What panics once may panic again; the others must hear of it nevertheless.
            let hear = std::panic::AssertUnwindSafe(|| listener.hear(Event::Failed(Error::internal(why))));
            let _ = std::panic::catch_unwind(hear);
        }
        self.count(|_| {});
    }

    /// Frees the place of a sequence, and keeps its cache if it is `whole`.
    fn close(&mut self, sequence: usize, whole: bool) {
        let Some(new) = self.scheduler.close(sequence).filter(|_| whole) else { return };
        // What the new one contains is not needed twice.
        self.scheduler.kept.retain(|kept| !new.ids.starts_with(&kept.ids));
        self.scheduler.kept.push(new);
        self.evict();
    }

    /// Drops the oldest kept caches until the rest is within the limits.
    fn evict(&mut self) {
        let reserved = self.reserved();
        let kept = &mut self.scheduler.kept;
        while !kept.is_empty()
            && (kept.len() > self.limits.kept
                || reserved + kept.iter().map(|kept| kept.ids.len()).sum::<usize>()
                    > self.limits.cache_tokens)
        {
            kept.remove(0);
        }
    }

    /// The number of tokens that the caches of running sequences may get.
    fn reserved(&self) -> usize {
        self.running.iter().map(|running| running.reserved).sum()
    }

    fn context(&self) -> usize {
        self.scheduler.model.config.max_position_embeddings
    }

    /// Updates the figures.
    fn count(&self, more: impl FnOnce(&mut State)) {
        let mut state = self.shared.lock();
        more(&mut state);
        let kept = &self.scheduler.kept;
        let waiting = state.waiting.len();
        let figures = &mut state.figures;
        (figures.running, figures.waiting, figures.kept) = (self.running.len(), waiting, kept.len());
        figures.cache_tokens = self.reserved() + kept.iter().map(|kept| kept.ids.len()).sum::<usize>();
    }
}
