//! The parameters of requests: those that this server follows, those without effect on the output, and those that it
//! knows and does not support.

use serde_json::{Value, json};

use super::fields::{Fields, Parameter, Values};
use super::problem::Problem;

/// The largest number of choices of a request, for all its prompts together.
pub const MOST_CHOICES: i64 = 16;
/// The largest number of alternatives to each token.
pub const MOST_ALTERNATIVES: i64 = 20;
/// The largest number of stop strings, and of characters in one.
pub const MOST_STOPS: usize = 16;
pub const LONGEST_STOP: usize = 256;
/// The largest number of tokens with a bias.
pub const MOST_BIASES: usize = 1024;
/// The largest number of tokens that a request may ask for; its context ends earlier.
const MOST_TOKENS: i64 = 1 << 24;

macro_rules! parameters {
    ($($id:ident = $name:literal, $values:expr, $about:literal;)*) => {
        $(pub const $id: Parameter = Parameter { name: $name, values: $values, about: $about };)*
    };
}

parameters! {
    MODEL = "model", Values::Text, "The name of the model, as /v1/models lists it. Without it, the model that is served.";
    MESSAGES = "messages", Values::Any, "The conversation so far.";
    PROMPT = "prompt", Values::Any, "A text or the ids of its tokens, or a list of either.";
    N = "n", Values::Whole(1, MOST_CHOICES), "How many answers to generate. Each has a random stream of its own.";
    MAX_TOKENS = "max_tokens", Values::Whole(1, MOST_TOKENS), "The largest number of tokens to generate.";
    MAX_COMPLETION_TOKENS = "max_completion_tokens", Values::Whole(1, MOST_TOKENS), "The same as `max_tokens`.";
    STREAM = "stream", Values::Flag, "Send tokens as they are generated, as server-sent events that end with `[DONE]`.";
    STREAM_OPTIONS = "stream_options", Values::Any, "With `include_usage`, the last event of a stream has the numbers of tokens.";
    INCLUDE_USAGE = "include_usage", Values::Flag, "Send the numbers of tokens at the end.";
    STOP = "stop", Values::Any, "Up to 16 strings before which the text ends.";
    SEED = "seed", Values::Whole(i64::MIN, i64::MAX), "The same seed gives the same text. Without one, it is random.";
    TEMPERATURE = "temperature", Values::Number(0.0, 2.0), "Divides the logits; 0 takes the most likely token. The default is 1.";
    TOP_P = "top_p", Values::Above(0.0, 1.0), "Keep the smallest set of most likely tokens whose probabilities add up to this.";
    TOP_K = "top_k", Values::Whole(-1, 1 << 31), "Keep this many of the most likely tokens; 0 and -1 keep all.";
    MIN_P = "min_p", Values::Number(0.0, 1.0), "Keep tokens at least this many times as likely as the most likely one.";
    REPETITION_PENALTY = "repetition_penalty", Values::Number(0.01, 10.0), "Divides positive logits of tokens in the text so far and multiplies negative ones.";
    FREQUENCY_PENALTY = "frequency_penalty", Values::Number(-2.0, 2.0), "Subtracted from the logit of a token for each time that it was generated.";
    PRESENCE_PENALTY = "presence_penalty", Values::Number(-2.0, 2.0), "Subtracted from the logit of every token that was generated.";
    LOGIT_BIAS = "logit_bias", Values::Any, "A number from -100 to 100 by token id, added to its logit; -100 excludes the token.";
    LOGPROBS = "logprobs", Values::Flag, "Send the log-probability of each token, in the softmax of the model's logits.";
    TOP_LOGPROBS = "top_logprobs", Values::Whole(0, MOST_ALTERNATIVES), "With `logprobs`: also for this many of the most likely tokens.";
    COMPLETION_LOGPROBS = "logprobs", Values::Whole(0, MOST_ALTERNATIVES), "Send log-probabilities, also for this many of the most likely tokens.";
}

/// What both endpoints follow.
pub const COMMON: [Parameter; 16] = [
    MODEL,
    N,
    MAX_TOKENS,
    STREAM,
    STREAM_OPTIONS,
    STOP,
    SEED,
    TEMPERATURE,
    TOP_P,
    TOP_K,
    MIN_P,
    REPETITION_PENALTY,
    FREQUENCY_PENALTY,
    PRESENCE_PENALTY,
    LOGIT_BIAS,
    MAX_COMPLETION_TOKENS,
];

/// Parameters that do not change the output, so that any value is accepted.
pub const WITHOUT_EFFECT: [&str; 8] = [
    "user",
    "metadata",
    "store",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "service_tier",
    "prediction",
];

/// Whether a value asks for nothing.
type Neutral = fn(&Value) -> bool;

/// Parameters that this server knows and does not support, and the values that ask for nothing.
const UNSUPPORTED: [(&str, Neutral); 20] = [
    ("tools", empty),
    ("tool_choice", |value| matches!(value.as_str(), Some("none" | "auto"))),
    ("parallel_tool_calls", Value::is_boolean),
    ("functions", empty),
    ("function_call", |value| matches!(value.as_str(), Some("none" | "auto"))),
    ("response_format", |value| *value == json!({"type": "text"})),
    ("modalities", |value| *value == json!(["text"])),
    ("audio", never),
    ("reasoning_effort", never),
    ("verbosity", never),
    ("web_search_options", never),
    ("moderation", never),
    ("chat_template", never),
    ("chat_template_kwargs", empty),
    ("documents", empty),
    ("best_of", |value| value.as_i64() == Some(1)),
    ("echo", |value| *value == Value::Bool(false)),
    ("suffix", |value| value.as_str() == Some("")),
    ("add_generation_prompt", |value| *value == Value::Bool(true)),
    ("continue_final_message", |value| *value == Value::Bool(false)),
];

fn empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(serde_json::Map::is_empty)
}

fn never(_: &Value) -> bool {
    false
}

/// Checks all fields that nothing has read.
///
/// # Errors
/// One of them would change the output, or is unknown.
pub fn check_the_rest(mut fields: Fields) -> Result<(), Problem> {
    for name in WITHOUT_EFFECT {
        fields.take(name);
    }
    for (name, asks_for_nothing) in UNSUPPORTED {
        if fields.take(name).is_some_and(|value| !asks_for_nothing(&value)) {
            let why = match name {
                "chat_template" | "chat_template_kwargs" => {
                    "the server uses the model's own template, never one from a request"
                }
                _ => "this server does not support this parameter",
            };
            return Err(Problem::unsupported(&fields.path(name), why));
        }
    }
    fields.finish()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn checked(value: Value) -> Result<(), Problem> {
        check_the_rest(Fields::of(value, "").unwrap())
    }

    #[rstest]
    #[case(json!({"user": "me", "metadata": {"a": 1}, "store": true, "service_tier": "auto"}))]
    #[case(json!({"tools": [], "response_format": {"type": "text"}, "echo": false, "best_of": 1, "suffix": null}))]
    fn what_does_not_change_the_output_is_accepted(#[case] value: Value) {
        checked(value).unwrap();
    }

    #[rstest]
    #[case(json!({"tools": [{"type": "function"}]}), "tools", "unsupported_parameter")]
    #[case(json!({"response_format": {"type": "json_object"}}), "response_format", "unsupported_parameter")]
    #[case(json!({"echo": true}), "echo", "unsupported_parameter")]
    #[case(json!({"chat_template": "{{ x }}"}), "chat_template", "unsupported_parameter")]
    #[case(json!({"temprature": 1}), "temprature", "unknown_parameter")]
    fn what_would_change_it_is_refused_by_name(#[case] value: Value, #[case] name: &str, #[case] code: &str) {
        let text = checked(value).unwrap_err().json();
        assert!(text.contains(&format!("\"param\":\"{name}\",\"code\":\"{code}\"")), "{text}");
    }
}
