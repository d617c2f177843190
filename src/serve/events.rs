//! A stream of server-sent events: one `data:` line and an empty line for each chunk, and `[DONE]` at the end.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::Response;
use hyper::body::Frame;

use super::answer::{Answer, Head, Usage};
use super::model::ServedModel;
use super::passages::Passages;
use super::problem::Problem;
use super::sequences::{Heard, Sequences};

/// The body of a streamed answer. When the client leaves, it is dropped, and with it the sequences.
pub struct Events<A> {
    form: A,
    head: Head,
    model: Arc<ServedModel>,
    sequences: Sequences,
    passages: Passages,
    /// Send the numbers of tokens at the end.
    usage: bool,
    /// Events that were not sent yet.
    ready: VecDeque<Bytes>,
    over: bool,
}

fn event(data: &str) -> Bytes {
    Bytes::from(format!("data: {data}\n\n"))
}

impl<A: Answer> Events<A> {
    /// The answer of `choices` sequences.
    pub fn new(form: A, model: Arc<ServedModel>, sequences: Sequences, choices: usize, usage: bool) -> Self {
        let head = Head::new(A::PREFIX, &model);
        let ready = (0..choices).filter_map(|choice| Some(event(&form.first(&head, choice)?))).collect();
        Self { form, head, model, sequences, passages: Passages::new(choices), usage, ready, over: false }
    }

    pub fn response(self) -> Response
    where
        A: Unpin,
    {
        let mut response = Response::new(Body::new(self));
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    /// Turns what the engine says into events.
    fn take(&mut self, heard: Result<Option<(usize, Heard)>, Problem>) {
        let Self { form, head, .. } = self;
        match heard {
            Ok(Some((choice, Heard::Token(token)))) => {
                let passage = self.passages.next(choice, token, &self.model);
                if !passage.text.is_empty() || !passage.scored.is_empty() {
                    self.ready.push_back(event(&form.passage(head, choice, &passage)));
                }
            }
            Ok(Some((choice, Heard::End(finish)))) => {
                self.ready.push_back(event(&form.end(head, choice, finish.into())));
            }
            Ok(None) => {
                let flight = &self.sequences.flight;
                let usage = Usage::new(flight.prompt_tokens, flight.tokens);
                let last = self.usage.then(|| event(&form.usage(head, usage)));
                self.ready.extend(last.into_iter().chain([event("[DONE]")]));
                self.over = true;
            }
            // The status is already sent, so the error is an event, as in OpenAI's API, and there is no `[DONE]`.
            Err(problem) => {
                self.ready.push_back(event(&problem.json()));
                self.over = true;
            }
        }
    }
}

impl<A: Answer + Unpin> HttpBody for Events<A> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if self.over {
                return Poll::Ready(None);
            }
            match self.sequences.poll(context) {
                Poll::Ready(heard) => self.take(heard),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
