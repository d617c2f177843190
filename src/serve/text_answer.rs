//! The answers of `POST /v1/completions`, in OpenAI's form.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::answer::{Answer, Head, Passage, Reason, Usage, json};
use super::token_text::Spelled;

#[derive(Clone, Copy, Debug)]
pub struct Text;

/// A whole answer, or a part of a stream.
#[derive(Serialize, ToSchema)]
pub struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    /// Seconds since 1970.
    created: u64,
    model: &'a str,
    /// Begins with `fp_`, followed by the hash of the verdict on this model.
    system_fingerprint: &'a str,
    choices: Vec<TextChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
}

#[derive(Serialize, ToSchema)]
pub struct TextChoice<'a> {
    index: usize,
    text: &'a str,
    #[schema(required)]
    logprobs: Option<TextLogprobs>,
    /// `stop` or `length`; null in a stream before the end.
    #[schema(required)]
    finish_reason: Option<&'static str>,
    /// The limit that ended it: `max_tokens`, `context` or `deadline`.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<&'static str>,
}

/// Four lists with an entry for each token.
#[derive(Default, Serialize, ToSchema)]
pub struct TextLogprobs {
    tokens: Vec<String>,
    token_logprobs: Vec<f64>,
    top_logprobs: Vec<BTreeMap<String, f64>>,
    /// Where the token begins, in characters of all tokens.
    text_offset: Vec<usize>,
}

/// A token as a string. OpenAI writes `bytes:` and the bytes if they are not whole characters.
fn name(token: &Spelled) -> String {
    match &token.bytes {
        Some(bytes) if token.text.contains(char::REPLACEMENT_CHARACTER) => {
            let hex: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            format!("bytes:{hex}")
        }
        _ => token.text.clone(),
    }
}

fn logprobs(passage: &Passage) -> Option<TextLogprobs> {
    let mut logprobs = TextLogprobs::default();
    let mut offset = passage.offset;
    for scored in &passage.scored {
        logprobs.tokens.push(name(&scored.token));
        logprobs.token_logprobs.push(scored.logprob);
        logprobs
            .top_logprobs
            .push(scored.others.iter().map(|(token, value)| (name(token), *value)).collect());
        logprobs.text_offset.push(offset);
        offset += scored.token.text.chars().count();
    }
    (!passage.scored.is_empty()).then_some(logprobs)
}

fn completion<'a>(head: &'a Head, choices: Vec<TextChoice<'a>>, usage: Option<Usage>) -> String {
    let Head { id, created, model, fingerprint } = head;
    let object = "text_completion";
    json(&Completion {
        id,
        object,
        created: *created,
        model,
        system_fingerprint: fingerprint,
        choices,
        usage,
    })
}

fn choice(index: usize, passage: &Passage) -> TextChoice<'_> {
    TextChoice { index, text: &passage.text, logprobs: logprobs(passage), finish_reason: None, limit: None }
}

impl Answer for Text {
    const PREFIX: &'static str = "cmpl";

    fn first(self, _: &Head, _: usize) -> Option<String> {
        None
    }

    fn passage(self, head: &Head, index: usize, passage: &Passage) -> String {
        completion(head, vec![choice(index, passage)], None)
    }

    fn end(self, head: &Head, index: usize, reason: Reason) -> String {
        let none = Passage::default();
        let end =
            TextChoice { finish_reason: Some(reason.finish), limit: reason.limit, ..choice(index, &none) };
        completion(head, vec![end], None)
    }

    fn usage(self, head: &Head, usage: Usage) -> String {
        completion(head, vec![], Some(usage))
    }

    fn whole(self, head: &Head, choices: &[(Passage, Reason)], usage: Usage) -> String {
        let choices = choices.iter().enumerate().map(|(index, (passage, reason))| TextChoice {
            finish_reason: Some(reason.finish),
            limit: reason.limit,
            ..choice(index, passage)
        });
        completion(head, choices.collect(), Some(usage))
    }
}
