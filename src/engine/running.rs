//! A sequence that has a place: its tokens, its text and its listener.

use std::time::Instant;

use super::request::{Event, Listener, Request, Token};
use super::spot::{Captured, ROWS};
use crate::Result;
use crate::generate::{Finish, Stops, Text, Tokens};
use crate::tokenizer::Tokenizer;

/// A sequence that runs.
pub(super) struct Running<'a> {
    /// Its number in the scheduler.
    pub sequence: usize,
    /// The number of tokens that its cache may get.
    pub reserved: usize,
    listener: Box<dyn Listener>,
    tokens: Tokens,
    text: Text<'a>,
    others: Option<usize>,
    deadline: Option<Instant>,
    /// How many tokens of the prompt were in a kept cache, until the prompt was read.
    reused: Option<usize>,
    /// The logits of its first tokens, if it will be checked again.
    captured: Option<Vec<Vec<f32>>>,
}

/// How a sequence goes on after a step.
pub(super) enum Next {
    /// It feeds this token.
    Feed(u32),
    /// It ended. The listener hears this event when the place is free.
    Ended(Event),
}

impl<'a> Running<'a> {
    /// A sequence whose prompt is not read yet.
    ///
    /// # Errors
    /// The settings or a token of the prompt cannot be used; the listener is returned too.
    pub fn new(
        request: Request,
        listener: Box<dyn Listener>,
        tokenizer: &'a Tokenizer,
        (sequence, reused, reserved): (usize, usize, usize),
    ) -> Result<Self, (Box<dyn Listener>, crate::Error)> {
        let Request { prompt, sampling, max_tokens, end, stops, others, deadline } = request;
        let parts = Stops::new(stops)
            .and_then(|stops| Text::after(&prompt, tokenizer, stops))
            .and_then(|text| Ok((text, Tokens::new(prompt, sampling, max_tokens, &end)?)));
        match parts {
            Err(error) => Err((listener, error)),
            Ok((text, tokens)) => Ok(Self {
                sequence,
                reserved,
                listener,
                tokens,
                text,
                others,
                deadline,
                reused: Some(reused),
                captured: None,
            }),
        }
    }

    /// Whether nobody waits for it.
    pub fn gone(&self) -> bool {
        self.listener.gone()
    }

    /// The number of tokens generated so far.
    pub fn generated(&self) -> usize {
        self.tokens.generated().len()
    }

    /// Keeps logits, so that the request can be checked again.
    pub fn capture(&mut self) {
        self.captured = Some(vec![]);
    }

    /// What is needed to check it again, if its logits were kept.
    pub fn captured(&mut self) -> Option<Captured> {
        let (logits, prompt) = (self.captured.take()?, self.tokens.prompt().len());
        Some(Captured { ids: [self.tokens.prompt(), self.tokens.generated()].concat(), prompt, logits })
    }

    /// Its listener alone.
    pub fn into_listener(self) -> Box<dyn Listener> {
        self.listener
    }

    /// Whether its time is over.
    pub fn expired(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Draws a token from `logits`, `[vocab]`, and tells the listener. `room` is the number of tokens that still fit into
    /// the context.
    pub fn advance(&mut self, logits: Vec<f32>, room: usize) -> Next {
        if let Some(reused) = self.reused.take() {
            self.listener.hear(Event::Started { reused });
        }
        if self.tokens.finish().is_none() {
            match self.draw(logits, room) {
                Err(error) => return Next::Ended(Event::Failed(error)),
                Ok(token) => self.listener.hear(Event::Token(token)),
            }
        }
        let stopped = self.text.stopped_by().map(|_| Finish::StopString);
        match (stopped.or(self.tokens.finish()), self.tokens.generated()) {
            (Some(finish), _) => Next::Ended(Event::Finished(finish)),
            (None, [.., last]) => Next::Feed(*last),
            (None, []) => Next::Ended(Event::Finished(Finish::MaxTokens)),
        }
    }

    fn draw(&mut self, logits: Vec<f32>, room: usize) -> Result<Token> {
        if let Some(captured) = self.captured.as_mut().filter(|captured| captured.len() < ROWS) {
            captured.push(logits.clone());
        }
        let step = self.tokens.draw(logits, room)?;
        let text = self.text.push(step.token, self.tokens.finish())?;
        let likelihoods = self.others.and_then(|others| self.tokens.likelihoods(others));
        Ok(Token { step, text, likelihoods })
    }
}
