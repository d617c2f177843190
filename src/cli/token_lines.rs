//! `generate --json`: one JSON object per token, and one at the end.

use rbees_check::Result;
use rbees_check::generate::{Finish, Likelihood};
use rbees_check::tokenizer::Tokenizer;
use serde::Serialize;

use super::paint::Out;
use super::timed_text::{TimedText, Timings};

/// A generated token.
#[derive(Serialize)]
struct TokenLine {
    index: usize,
    #[serde(flatten)]
    token: TokenJson,
    /// The text that became certain with this token. All of these, joined, are the continuation.
    text: String,
    /// The most likely tokens at this position by the model's own logits; left out if none were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    top_logprobs: Vec<TokenJson>,
}

/// A token and its log-probabilities; `null` stands for the logarithm of 0.
#[derive(Serialize)]
struct TokenJson {
    id: u32,
    /// As it is written in the vocabulary.
    token: Option<String>,
    /// After the logits processors: the distribution that was sampled.
    logprob: f64,
    /// From the model's unprocessed logits.
    raw_logprob: f64,
}

/// The last object.
#[derive(Serialize)]
struct End<'a> {
    finish: &'static str,
    /// The stop string that ended the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<&'a str>,
    prompt_tokens: usize,
    tokens: usize,
    text: String,
}

/// Writes all tokens of `timed_text` until it ends or the reader closes the stream. Each line also has the
/// `others` most likely tokens.
pub fn write(
    mut timed_text: TimedText<'_>,
    tokenizer: &Tokenizer,
    others: usize,
    out: &mut Out,
) -> Result<Timings> {
    let (mut whole, mut index) = (String::new(), 0);
    while let Some(piece) = timed_text.next() {
        let text = piece?.text;
        whole += &text;
        if let Some((chosen, others)) = timed_text.continuation.generation().likelihoods(others) {
            let top_logprobs = others.into_iter().map(|one| token(one, tokenizer)).collect();
            let token = token(chosen, tokenizer);
            out.line(json(&TokenLine { index, token, text, top_logprobs }))?;
        }
        index += 1;
        if out.closed() {
            return Ok(timed_text.timings);
        }
    }
    let (continuation, timings) = (&timed_text.continuation, timed_text.timings);
    let finish = continuation.finish().map_or("error", name);
    let (prompt_tokens, tokens, stop) = (timings.prompt, timings.tokens, continuation.stopped_by());
    out.line(json(&End { finish, stop, prompt_tokens, tokens, text: whole }))?;
    Ok(timings)
}

fn token(likelihood: Likelihood, tokenizer: &Tokenizer) -> TokenJson {
    let Likelihood { token: id, sampled, raw } = likelihood;
    // Logits are float32: more digits would carry no information.
    let rounded = |x: f64| (x * 1e6).round() / 1e6 + 0.0;
    TokenJson { id, token: tokenizer.token(id), logprob: rounded(sampled), raw_logprob: rounded(raw) }
}

fn name(finish: Finish) -> &'static str {
    match finish {
        Finish::EndOfSequence => "end_of_sequence",
        Finish::MaxTokens => "max_tokens",
        Finish::Context => "context",
        Finish::StopString => "stop_string",
        Finish::Deadline => "deadline",
        Finish::Error => "error",
    }
}

fn json(line: &impl Serialize) -> String {
    serde_json::to_string(line).expect("strings and numbers")
}
