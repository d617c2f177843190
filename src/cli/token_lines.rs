//! `generate --json`: a JSON object a token, and one at the end.

use rbees_check::Result;
use rbees_check::generate::{Finish, Likelihood};
use rbees_check::tokenizer::Tokenizer;
use serde::Serialize;

use super::paint::Out;
use super::speech::{Speech, Spoken};

/// A generated token.
#[derive(Serialize)]
struct Line {
    index: usize,
    #[serde(flatten)]
    token: Token,
    /// What is certain with it; all texts together are the continuation.
    text: String,
    /// The likeliest tokens of this place by the model's own logits; left out where none were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    top_logprobs: Vec<Token>,
}

/// A token and the logarithms of its probabilities; `null` is that of 0.
#[derive(Serialize)]
struct Token {
    id: u32,
    /// In the vocabulary's own spelling.
    token: Option<String>,
    /// After the processors: what was drawn from.
    logprob: f64,
    /// The model's own.
    raw_logprob: f64,
}

/// The last line.
#[derive(Serialize)]
struct End<'a> {
    finish: &'static str,
    /// The stop string that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<&'a str>,
    prompt_tokens: usize,
    tokens: usize,
    text: String,
}

/// Writes the whole of `speech`, until it ends or nobody reads on. Each line has the `others`
/// likeliest tokens beside the one that was drawn.
pub fn write(mut speech: Speech<'_>, tokenizer: &Tokenizer, others: usize, out: &mut Out) -> Result<Spoken> {
    let (mut whole, mut index) = (String::new(), 0);
    while let Some(piece) = speech.next() {
        let text = piece?.text;
        whole += &text;
        if let Some((chosen, others)) = speech.continuation.generation().likelihoods(others) {
            let top_logprobs = others.into_iter().map(|one| token(one, tokenizer)).collect();
            let token = token(chosen, tokenizer);
            out.line(json(&Line { index, token, text, top_logprobs }))?;
        }
        index += 1;
        if out.closed() {
            return Ok(speech.spoken);
        }
    }
    let (continuation, spoken) = (&speech.continuation, speech.spoken);
    let finish = continuation.finish().map_or("error", name);
    let (prompt_tokens, tokens, stop) = (spoken.prompt, spoken.tokens, continuation.stopped_by());
    out.line(json(&End { finish, stop, prompt_tokens, tokens, text: whole }))?;
    Ok(spoken)
}

fn token(likelihood: Likelihood, tokenizer: &Tokenizer) -> Token {
    let Likelihood { token: id, sampled, raw } = likelihood;
    // Logits are float32: further digits would say nothing.
    let rounded = |x: f64| (x * 1e6).round() / 1e6 + 0.0;
    Token { id, token: tokenizer.token(id), logprob: rounded(sampled), raw_logprob: rounded(raw) }
}

fn name(finish: Finish) -> &'static str {
    match finish {
        Finish::EndOfSequence => "end_of_sequence",
        Finish::MaxTokens => "max_tokens",
        Finish::Context => "context",
        Finish::StopString => "stop_string",
        Finish::Error => "error",
    }
}

fn json(line: &impl Serialize) -> String {
    serde_json::to_string(line).expect("strings and numbers")
}
