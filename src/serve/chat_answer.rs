//! The answers of `POST /v1/chat/completions`, in OpenAI's form.

use serde::Serialize;
use utoipa::ToSchema;

use super::answer::{Answer, Head, Passage, Reason, Scored, Usage, json};

#[derive(Clone, Copy, Debug)]
pub struct Chat;

/// A whole answer.
#[derive(Serialize, ToSchema)]
pub struct ChatCompletion<'a> {
    id: &'a str,
    /// `chat.completion`, or `chat.completion.chunk` for a part of a stream.
    object: &'static str,
    /// Seconds since 1970.
    created: u64,
    model: &'a str,
    /// Begins with `fp_`, followed by the hash of the verdict on this model.
    system_fingerprint: &'a str,
    choices: Vec<ChatChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
}

/// An answer of the model, or a part of one.
#[derive(Serialize, ToSchema)]
pub struct ChatChoice<'a> {
    index: usize,
    /// In a whole answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<ChatMessage<'a>>,
    /// In a part of a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<ChatDelta<'a>>,
    #[schema(required)]
    logprobs: Option<ChatLogprobs<'a>>,
    /// `stop` or `length`; null in a stream before the end.
    #[schema(required)]
    finish_reason: Option<&'static str>,
    /// The limit that ended it: `max_tokens`, `context` or `deadline`.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<&'static str>,
}

#[derive(Serialize, ToSchema)]
pub struct ChatMessage<'a> {
    role: &'static str,
    content: &'a str,
    #[schema(required)]
    refusal: Option<&'static str>,
}

#[derive(Default, Serialize, ToSchema)]
pub struct ChatDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

#[derive(Serialize, ToSchema)]
pub struct ChatLogprobs<'a> {
    content: Vec<ChatToken<'a>>,
    #[schema(required)]
    refusal: Option<Vec<ChatAlternative<'a>>>,
}

#[derive(Serialize, ToSchema)]
pub struct ChatToken<'a> {
    token: &'a str,
    logprob: f64,
    /// The token's bytes, which need not be whole characters.
    #[schema(required)]
    #[schema(value_type = Option<Vec<i32>>)]
    bytes: Option<&'a [u8]>,
    top_logprobs: Vec<ChatAlternative<'a>>,
}

#[derive(Serialize, ToSchema)]
pub struct ChatAlternative<'a> {
    token: &'a str,
    logprob: f64,
    #[schema(required)]
    #[schema(value_type = Option<Vec<i32>>)]
    bytes: Option<&'a [u8]>,
}

impl Chat {
    fn completion<'a>(
        head: &'a Head,
        object: &'static str,
        choices: Vec<ChatChoice<'a>>,
    ) -> ChatCompletion<'a> {
        let Head { id, created, model, fingerprint } = head;
        ChatCompletion {
            id,
            object,
            created: *created,
            model,
            system_fingerprint: fingerprint,
            choices,
            usage: None,
        }
    }

    fn chunk(head: &Head, choice: ChatChoice<'_>) -> String {
        json(&Self::completion(head, "chat.completion.chunk", vec![choice]))
    }
}

fn part(index: usize, delta: ChatDelta<'_>) -> ChatChoice<'_> {
    ChatChoice { index, message: None, delta: Some(delta), logprobs: None, finish_reason: None, limit: None }
}

fn logprobs(scored: &[Scored]) -> Option<ChatLogprobs<'_>> {
    let content: Vec<ChatToken<'_>> = scored.iter().map(token).collect();
    (!content.is_empty()).then_some(ChatLogprobs { content, refusal: None })
}

fn token(scored: &Scored) -> ChatToken<'_> {
    let others = scored.others.iter().map(|(spelled, logprob)| ChatAlternative {
        token: &spelled.text,
        logprob: *logprob,
        bytes: spelled.bytes.as_deref(),
    });
    ChatToken {
        token: &scored.token.text,
        logprob: scored.logprob,
        bytes: scored.token.bytes.as_deref(),
        top_logprobs: others.collect(),
    }
}

impl Answer for Chat {
    const PREFIX: &'static str = "chatcmpl";

    fn first(self, head: &Head, choice: usize) -> Option<String> {
        Some(Self::chunk(head, part(choice, ChatDelta { role: Some("assistant"), content: Some("") })))
    }

    fn passage(self, head: &Head, choice: usize, passage: &Passage) -> String {
        let delta = ChatDelta { role: None, content: Some(&passage.text) };
        Self::chunk(head, ChatChoice { logprobs: logprobs(&passage.scored), ..part(choice, delta) })
    }

    fn end(self, head: &Head, choice: usize, reason: Reason) -> String {
        let end = part(choice, ChatDelta::default());
        Self::chunk(head, ChatChoice { finish_reason: Some(reason.finish), limit: reason.limit, ..end })
    }

    fn usage(self, head: &Head, usage: Usage) -> String {
        json(&ChatCompletion {
            usage: Some(usage),
            ..Self::completion(head, "chat.completion.chunk", vec![])
        })
    }

    fn whole(self, head: &Head, choices: &[(Passage, Reason)], usage: Usage) -> String {
        let choices = choices.iter().enumerate().map(|(index, (passage, reason))| ChatChoice {
            index,
            message: Some(ChatMessage { role: "assistant", content: &passage.text, refusal: None }),
            delta: None,
            logprobs: logprobs(&passage.scored),
            finish_reason: Some(reason.finish),
            limit: reason.limit,
        });
        let choices = choices.collect();
        json(&ChatCompletion { usage: Some(usage), ..Self::completion(head, "chat.completion", choices) })
    }
}
