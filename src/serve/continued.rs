//! The body of `POST /v1/completions`: texts, or ids of tokens, that the model continues.

use serde_json::Value;

use super::ask::Ask;
use super::fields::{Fields, kind};
use super::parameters::{self as p, check_the_rest};
use super::problem::Problem;

/// The number of tokens that OpenAI's API generates if a request does not say how many.
const DEFAULT_TOKENS: usize = 16;

/// A prompt, as the request gives it.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    Text(String),
    Ids(Vec<u32>),
}

/// Reads a request: its prompts, and what is asked for.
///
/// # Errors
/// A field is wrong, missing, unknown or not supported.
pub fn read(body: Value) -> Result<(Vec<Prompt>, Ask), Problem> {
    let mut fields = Fields::of(body, "")?;
    let name = p::PROMPT.name;
    let given = fields.take(name).ok_or_else(|| Problem::invalid(name, "is missing"))?;
    let prompts = prompts(given)?;
    let others = fields.whole(&p::COMPLETION_LOGPROBS)?.map(|n| n as usize);
    let mut ask = Ask::read(&mut fields, others)?;
    ask.max_tokens = ask.max_tokens.or(Some(DEFAULT_TOKENS));
    if prompts.len() * ask.n > p::MOST_CHOICES as usize {
        let why = format!(
            "{} prompts with n {}; at most {} choices are allowed",
            prompts.len(),
            ask.n,
            p::MOST_CHOICES
        );
        return Err(Problem::invalid(name, why));
    }
    check_the_rest(fields)?;
    Ok((prompts, ask))
}

/// A text, ids, or a list of texts or of lists of ids.
fn prompts(given: Value) -> Result<Vec<Prompt>, Problem> {
    let wrong = |value: &Value| {
        let why = format!("must be a string, a list of token ids, or a list of either, not {}", kind(value));
        Problem::invalid(p::PROMPT.name, why)
    };
    match given {
        Value::String(text) => Ok(vec![Prompt::Text(text)]),
        Value::Array(list) if list.is_empty() => Err(Problem::invalid(p::PROMPT.name, "is empty")),
        Value::Array(list) if list[0].is_number() => Ok(vec![Prompt::Ids(ids(&list)?)]),
        Value::Array(list) => {
            let one = |value: Value| match value {
                Value::String(text) => Ok(Prompt::Text(text)),
                Value::Array(list) => Ok(Prompt::Ids(ids(&list)?)),
                other => Err(wrong(&other)),
            };
            list.into_iter().map(one).collect()
        }
        other => Err(wrong(&other)),
    }
}

fn ids(list: &[Value]) -> Result<Vec<u32>, Problem> {
    let id = |value: &Value| u32::try_from(value.as_u64()?).ok();
    let ids: Option<Vec<u32>> = list.iter().map(id).collect();
    ids.filter(|ids| !ids.is_empty()).ok_or_else(|| {
        Problem::invalid(p::PROMPT.name, "a list of token ids must have whole numbers from 0 on")
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn text(text: &str) -> Prompt {
        Prompt::Text(text.into())
    }

    #[rstest]
    #[case(json!("a"), vec![text("a")])]
    #[case(json!(["a", "b"]), vec![text("a"), text("b")])]
    #[case(json!([1, 2]), vec![Prompt::Ids(vec![1, 2])])]
    #[case(json!([[1], [2, 3]]), vec![Prompt::Ids(vec![1]), Prompt::Ids(vec![2, 3])])]
    fn a_prompt_is_text_or_ids(#[case] prompt: Value, #[case] want: Vec<Prompt>) {
        let (prompts, ask) = read(json!({"prompt": prompt, "logprobs": 2})).unwrap();
        assert_eq!((prompts, ask.max_tokens, ask.others), (want, Some(16), Some(2)));
    }

    #[rstest]
    #[case(json!({}), "prompt: is missing")]
    #[case(json!({"prompt": 5}), "prompt: must be a string")]
    #[case(json!({"prompt": []}), "prompt: is empty")]
    #[case(json!({"prompt": [1, -1]}), "prompt: a list of token ids")]
    #[case(json!({"prompt": [[]]}), "prompt: a list of token ids")]
    #[case(json!({"prompt": ["a", "b"], "n": 9}), "prompt: 2 prompts with n 9")]
    #[case(json!({"prompt": "a", "echo": true}), "echo: this server does not support")]
    fn other_prompts_are_refused(#[case] body: Value, #[case] message: &str) {
        let problem = read(body).unwrap_err().json();
        assert!(problem.contains(message), "{problem}");
    }
}
