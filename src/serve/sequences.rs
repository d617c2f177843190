//! The sequences of one request: handed to the engine together, and heard as they go on.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rbees_check::engine::{Event, Listener, Request, Token};
use rbees_check::generate::{Finish, Sampling};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::ask::Ask;
use super::flight::Flight;
use super::model::ServedModel;
use super::problem::Problem;

/// What the engine says about one of the sequences.
#[derive(Debug)]
pub enum Heard {
    Token(Token),
    End(Finish),
}

/// The sequences of one request. When this is dropped, the engine drops those that still run.
#[derive(Debug)]
pub struct Sequences {
    events: UnboundedReceiver<(usize, Event)>,
    /// The number of sequences that have not ended.
    open: usize,
    pub flight: Flight,
}

/// Passes a sequence's events on. The channel has no limit of its own; a sequence has at most `max_tokens` events.
struct Ear {
    choice: usize,
    to: UnboundedSender<(usize, Event)>,
}

impl Listener for Ear {
    fn hear(&mut self, event: Event) {
        // If the client has left, `gone` says so before the next step.
        let _ = self.to.send((self.choice, event));
    }

    fn gone(&self) -> bool {
        self.to.is_closed()
    }
}

impl Sequences {
    /// Hands over `ask.n` sequences for each prompt; the choices are numbered prompt by prompt. `name` is the prompt's
    /// parameter.
    ///
    /// # Errors
    /// The engine refuses one of them; then it drops the others.
    pub fn start(
        model: &ServedModel,
        (prompts, name): (Vec<Vec<u32>>, &str),
        ask: &Ask,
        longest: Duration,
        mut flight: Flight,
    ) -> Result<Self, Problem> {
        ask.sampling.fits(model.vocab).map_err(|error| Problem::of_value("logit_bias", &error))?;
        let (to, events) = unbounded_channel();
        let deadline = Instant::now().checked_add(longest);
        let mut open = 0;
        for prompt in prompts {
            flight.prompt_tokens += prompt.len();
            for n in 0..ask.n {
                let seed = ask.sampling.seed.wrapping_add(n as u64);
                // The last token needs no place in the context.
                let room = model.context + 1 - prompt.len().min(model.context);
                let request = Request {
                    prompt: prompt.clone(),
                    sampling: Sampling { seed, ..ask.sampling.clone() },
                    max_tokens: ask.max_tokens.unwrap_or(room).min(room),
                    end: model.end.clone(),
                    stops: ask.stops.clone(),
                    others: ask.others,
                    deadline,
                };
                let ear = Ear { choice: open, to: to.clone() };
                if let Err(refusal) = model.engine.submit(request, Box::new(ear)) {
                    let problem = Problem::refused(&refusal, name);
                    flight.refused(problem.status);
                    return Err(problem);
                }
                open += 1;
            }
        }
        Ok(Self { events, open, flight })
    }

    /// The next event and the choice that it belongs to; `None` if all sequences have ended.
    ///
    /// # Errors
    /// A sequence failed, or the engine has ended.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<(usize, Heard)>, Problem>> {
        while self.open > 0 {
            let Poll::Ready(event) = self.events.poll_recv(context) else { return Poll::Pending };
            let problem = match event {
                Some((_, Event::Started { .. })) => continue,
                Some((choice, Event::Token(token))) => {
                    self.flight.token();
                    return Poll::Ready(Ok(Some((choice, Heard::Token(token)))));
                }
                Some((choice, Event::Finished(finish))) if finish != Finish::Error => {
                    self.open -= 1;
                    return Poll::Ready(Ok(Some((choice, Heard::End(finish)))));
                }
                Some((_, Event::Failed(error))) => Problem::internal(&error.to_string()),
                Some((_, Event::Finished(_))) => Problem::internal("the model failed"),
                None => Problem::internal("the engine has ended"),
            };
            self.open = 0;
            self.flight.ended("failed");
            return Poll::Ready(Err(problem));
        }
        self.flight.ended("done");
        Poll::Ready(Ok(None))
    }
}
