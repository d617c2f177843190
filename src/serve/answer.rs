//! What the answers of both endpoints have in common.

use rbees_check::engine::Token;
use rbees_check::generate::{Finish, Likelihood};
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};
use utoipa::ToSchema;

use super::ask::random;
use super::model::ServedModel;
use super::token_text::Spelled;

/// OpenAI's stand-in for the logarithm of 0, which JSON cannot write.
const IMPOSSIBLE: f64 = -9999.0;

/// What every part of an answer repeats.
#[derive(Clone, Debug)]
pub struct Head {
    pub id: String,
    pub created: u64,
    pub model: String,
    pub fingerprint: String,
}

impl Head {
    /// The head of a new answer; `prefix` is that of its id.
    pub fn new(prefix: &str, model: &ServedModel) -> Self {
        let hash = model.standing.verdict().map_or("unchecked", |verdict| &verdict.sha256[..12]);
        Self {
            id: format!("{prefix}-{:016x}", random()),
            created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
            model: model.name.clone(),
            fingerprint: format!("fp_{hash}"),
        }
    }
}

/// How many tokens a request has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Usage {
    pub prompt_tokens: usize,
    pub completion_tokens: usize,
    pub total_tokens: usize,
}

impl Usage {
    pub fn new(prompt_tokens: usize, completion_tokens: usize) -> Self {
        Self { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens }
    }
}

/// A token with its log-probability, and those of the alternatives.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    pub token: Spelled,
    pub logprob: f64,
    pub others: Vec<(Spelled, f64)>,
}

impl Scored {
    /// The log-probabilities of a token, if the request asked for them. They are those of the model, before the
    /// settings of the request change them.
    pub fn of(token: &Token, model: &ServedModel) -> Option<Self> {
        let (chosen, others) = token.likelihoods.as_ref()?;
        let one = |one: &Likelihood| (model.texts.of(&model.tokenizer, one.token), one.raw.max(IMPOSSIBLE));
        let (token, logprob) = one(chosen);
        Some(Self { token, logprob, others: others.iter().map(one).collect() })
    }
}

/// Some text of one choice, and the tokens that it became certain with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Passage {
    pub text: String,
    /// Empty if the request did not ask for log-probabilities.
    pub scored: Vec<Scored>,
    /// The number of characters of the choice's tokens before these.
    pub offset: usize,
}

/// Why a choice ended, and which limit ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    pub finish: &'static str,
    pub limit: Option<&'static str>,
}

impl From<Finish> for Reason {
    fn from(finish: Finish) -> Self {
        let limit = match finish {
            Finish::EndOfSequence | Finish::StopString => None,
            Finish::MaxTokens => Some("max_tokens"),
            Finish::Context => Some("context"),
            Finish::Deadline => Some("deadline"),
            Finish::Error => Some("error"),
        };
        Self { finish: if limit.is_none() { "stop" } else { "length" }, limit }
    }
}

/// How an endpoint writes its answers, each as JSON.
pub trait Answer: Copy + Send + Sync + 'static {
    /// What the endpoint's ids begin with.
    const PREFIX: &'static str;

    /// The first chunk of a choice, if the form has one.
    fn first(self, head: &Head, choice: usize) -> Option<String>;

    /// A chunk with text.
    fn passage(self, head: &Head, choice: usize, passage: &Passage) -> String;

    /// The last chunk of a choice.
    fn end(self, head: &Head, choice: usize, reason: Reason) -> String;

    /// The chunk after all choices, with the numbers of tokens.
    fn usage(self, head: &Head, usage: Usage) -> String;

    /// The whole answer.
    fn whole(self, head: &Head, choices: &[(Passage, Reason)], usage: Usage) -> String;
}

/// A value as JSON.
pub fn json(value: &impl Serialize) -> String {
    // The forms have only strings as keys and only finite numbers, so that this cannot fail.
    serde_json::to_string(value).unwrap_or_default()
}
