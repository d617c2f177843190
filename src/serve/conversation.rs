//! The body of `POST /v1/chat/completions`: a conversation, which the model's template turns into a prompt.

use serde_json::{Value, json};

use super::ask::Ask;
use super::fields::{Fields, Parameter, Values, kind};
use super::parameters::{self as p, check_the_rest};
use super::problem::Problem;

/// The largest number of messages.
const MOST_MESSAGES: usize = 1024;
const ROLE: Parameter = Parameter { name: "role", values: Values::Text, about: "Who wrote it." };
const NAME: Parameter = Parameter { name: "name", values: Values::Text, about: "The writer's name." };
const TYPE: Parameter = Parameter { name: "type", values: Values::Text, about: "The kind of a part." };
const TEXT: Parameter = Parameter { name: "text", values: Values::Text, about: "The text of a part." };

/// The roles, and what a template calls them. Models were trained on `system`, not on `developer`.
pub const ROLES: [(&str, &str); 4] =
    [("system", "system"), ("developer", "system"), ("user", "user"), ("assistant", "assistant")];

/// Reads a request: what the template is given, and what is asked for.
///
/// # Errors
/// A field is wrong, missing, unknown or not supported.
pub fn read(body: Value) -> Result<(Value, Ask), Problem> {
    let mut fields = Fields::of(body, "")?;
    let messages = messages(fields.take(p::MESSAGES.name))?;
    let wanted = fields.flag(&p::LOGPROBS)?.unwrap_or(false);
    let others = match fields.whole(&p::TOP_LOGPROBS)? {
        None => wanted.then_some(0),
        Some(n) if wanted => Some(n as usize),
        Some(0) => None,
        Some(_) => return Err(Problem::invalid(p::TOP_LOGPROBS.name, "is only allowed with logprobs: true")),
    };
    let ask = Ask::read(&mut fields, others)?;
    check_the_rest(fields)?;
    Ok((json!({ "messages": messages, "add_generation_prompt": true }), ask))
}

fn messages(given: Option<Value>) -> Result<Vec<Value>, Problem> {
    let name = p::MESSAGES.name;
    match given {
        Some(Value::Array(list)) if list.is_empty() => {
            Err(Problem::invalid(name, "must have at least one message"))
        }
        Some(Value::Array(list)) if list.len() > MOST_MESSAGES => Err(Problem::invalid(
            name,
            format!("{} messages; at most {MOST_MESSAGES} are allowed", list.len()),
        )),
        Some(Value::Array(list)) => {
            list.into_iter().enumerate().map(|(n, value)| message(value, &format!("{name}[{n}]"))).collect()
        }
        Some(other) => {
            Err(Problem::invalid(name, format!("must be a list of messages, not {}", kind(&other))))
        }
        None => Err(Problem::invalid(name, "is missing")),
    }
}

/// A message as templates know it. `at` is its path.
fn message(value: Value, at: &str) -> Result<Value, Problem> {
    let mut fields = Fields::of(value, at)?;
    let role = fields.text(&ROLE)?.ok_or_else(|| Problem::invalid(&fields.path(ROLE.name), "is missing"))?;
    let Some((_, known)) = ROLES.iter().find(|(name, _)| *name == role) else {
        let roles = ROLES.map(|(name, _)| name).join(", ");
        return Err(Problem::invalid(&fields.path(ROLE.name), format!("this server knows {roles}")));
    };
    let path = fields.path("content");
    let content = match fields.take("content") {
        Some(Value::String(text)) => text,
        Some(Value::Array(parts)) if !parts.is_empty() => {
            let parts = parts.into_iter().enumerate().map(|(n, value)| part(value, &format!("{path}[{n}]")));
            parts.collect::<Result<String, Problem>>()?
        }
        Some(other) => return Err(Problem::invalid(&path, format!("must be text, not {}", kind(&other)))),
        None => return Err(Problem::invalid(&path, "is missing")),
    };
    let mut message = json!({ "role": known, "content": content });
    if let Some(name) = fields.text(&NAME)? {
        message["name"] = Value::String(name);
    }
    // The official clients send back what they received.
    for name in ["refusal", "annotations"] {
        fields.take(name).map_or(Ok(()), |value| match value {
            Value::Array(list) if list.is_empty() => Ok(()),
            _ => Err(Problem::unsupported(&fields.path(name), "this server does not support this parameter")),
        })?;
    }
    fields.finish()?;
    Ok(message)
}

/// The text of a part of a message; other parts, such as images, are refused.
fn part(value: Value, at: &str) -> Result<String, Problem> {
    let mut fields = Fields::of(value, at)?;
    let kind = fields.text(&TYPE)?.unwrap_or_default();
    if kind != "text" {
        return Err(Problem::unsupported(
            &fields.path(TYPE.name),
            "this server supports parts of type text only",
        ));
    }
    let text = fields.text(&TEXT)?.ok_or_else(|| Problem::invalid(&fields.path(TEXT.name), "is missing"))?;
    fields.finish()?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn saying(content: Value) -> Value {
        json!({ "messages": [{ "role": "user", "content": content }] })
    }

    #[test]
    fn text_and_parts_of_text_become_messages() {
        let (chat, ask) = read(saying(json!("hi"))).unwrap();
        assert_eq!(chat["messages"], json!([{"role": "user", "content": "hi"}]));
        assert_eq!((&chat["add_generation_prompt"], ask.others), (&json!(true), None));
        let parts = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
        assert_eq!(read(saying(parts)).unwrap().0["messages"][0]["content"], "ab");
        let developer = json!({"messages": [{"role": "developer", "content": "x", "name": "n"}]});
        assert_eq!(
            read(developer).unwrap().0["messages"],
            json!([{"role": "system", "content": "x", "name": "n"}])
        );
    }

    #[rstest]
    #[case(json!({"logprobs": true}), Some(0))]
    #[case(json!({"logprobs": true, "top_logprobs": 3}), Some(3))]
    #[case(json!({"logprobs": false, "top_logprobs": 0}), None)]
    fn log_probabilities_have_alternatives(#[case] more: Value, #[case] others: Option<usize>) {
        let mut body = saying(json!("hi"));
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(read(body).unwrap().1.others, others);
    }

    #[rstest]
    #[case(json!([]), "must be an object")]
    #[case(json!({}), "messages: is missing")]
    #[case(json!({"messages": []}), "messages: must have at least one message")]
    #[case(json!({"messages": "hi"}), "messages: must be a list of messages, not a string")]
    #[case(json!({"messages": ["hi"]}), "messages[0]: must be an object")]
    #[case(json!({"messages": [{"role": "user"}]}), "messages[0].content: is missing")]
    #[case(json!({"messages": [{"role": "tool", "content": "x"}]}), "messages[0].role: this server knows")]
    #[case(json!({"messages": [{"role": "user", "content": 5}]}), "messages[0].content: must be text, not a number")]
    #[case(saying(json!([{"type": "image_url", "image_url": {}}])), "messages[0].content[0].type: this server")]
    #[case(saying(json!([{"type": "text"}])), "messages[0].content[0].text: is missing")]
    #[case(json!({"messages": [{"role": "user", "content": "x", "tool_calls": []}]}), "messages[0].tool_calls")]
    #[case(json!({"messages": [{"role": "user", "content": "x"}], "top_logprobs": 2}), "top_logprobs: is only")]
    fn other_conversations_are_refused_by_path(#[case] body: Value, #[case] message: &str) {
        let problem = read(body).unwrap_err().json();
        assert!(problem.contains(message), "{problem}");
    }
}
