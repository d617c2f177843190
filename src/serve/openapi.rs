//! `GET /openapi.json`: what the server accepts and answers, for programs.

use std::collections::BTreeMap;

use axum::response::Response;
use serde_json::{Value, json};
use utoipa::OpenApi;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, PathItem};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, Ref, Required};

use super::conversation::ROLES;
use super::fields::{Parameter, Values};
use super::generation;
use super::parameters as p;
use super::problem::Problem;

/// The answers, from the types that are sent.
#[derive(OpenApi)]
#[openapi(
    info(title = "rbees-check serve", description = "OpenAI's API, with a model that passed its checks."),
    components(schemas(
        super::chat_answer::ChatCompletion,
        super::text_answer::Completion,
        super::facts::Health,
        super::facts::ModelList,
        super::problem::ErrorBody
    ))
)]
struct Answers;

/// What may go wrong with a request that generates text.
const PROBLEMS: [(&str, &str); 11] = [
    ("400", "A parameter is wrong, unknown or not supported."),
    ("401", "The key is missing or wrong."),
    ("403", "The host or the origin is not allowed."),
    ("404", "There is no such model."),
    ("405", "The method is not allowed."),
    ("408", "The body took too long."),
    ("413", "The body is too large."),
    ("415", "The body is not declared as JSON."),
    ("429", "As many requests wait as this server allows."),
    ("500", "The model failed."),
    ("503", "The server is about to end."),
];

/// Serves the document.
pub async fn document() -> Result<Response, Problem> {
    let text = written().map_err(|error| Problem::internal(&format!("the OpenAPI document: {error}")))?;
    Ok(generation::json(text))
}

fn written() -> serde_json::Result<String> {
    let mut api = Answers::openapi();
    let key = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let components = api.components.get_or_insert_default();
    components.add_security_scheme("key", key);
    for (path, request, answer) in [
        ("/v1/chat/completions", "ChatRequest", "ChatCompletion"),
        ("/v1/completions", "CompletionRequest", "Completion"),
    ] {
        let body = RequestBodyBuilder::new()
            .content("application/json", Content::new(Some(Ref::from_schema_name(request))))
            .required(Some(Required::True));
        // The events are parts of an answer but for the last, `[DONE]`, so no schema fits all of them.
        let done = ResponseBuilder::new()
            .description("The answer; with `stream`, server-sent events whose data are parts of one.")
            .content("application/json", Content::new(Some(Ref::from_schema_name(answer))))
            .content("text/event-stream", Content::default());
        let operation = operation(&PROBLEMS).request_body(Some(body.build())).response("200", done.build());
        api.paths.paths.insert(path.to_owned(), PathItem::new(HttpMethod::Post, with_key(operation)));
    }
    let found = |answer| Content::new(Some(Ref::from_schema_name(answer)));
    let any = |kind: &str| (kind.to_owned(), Content::default());
    for (path, locked, (kind, content), problems) in [
        ("/v1/models", true, ("application/json".into(), found("ModelList")), &PROBLEMS[1..3]),
        ("/v1/verdict", true, any("application/json"), &PROBLEMS[1..4]),
        ("/metrics", true, any("application/openmetrics-text"), &PROBLEMS[1..3]),
        ("/health", false, ("application/json".into(), found("Health")), &PROBLEMS[2..3]),
    ] {
        let done = ResponseBuilder::new().description("The answer.").content(kind, content).build();
        let operation = operation(problems).response("200", done);
        let operation = if locked { with_key(operation) } else { operation };
        api.paths.paths.insert(path.to_owned(), PathItem::new(HttpMethod::Get, operation));
    }
    let mut document = serde_json::to_value(&api)?;
    let schemas = &mut document["components"]["schemas"];
    (schemas["ChatRequest"], schemas["CompletionRequest"]) = (chat(), completion());
    Ok(document.to_string())
}

fn operation(problems: &[(&str, &str)]) -> OperationBuilder {
    problems.iter().fold(OperationBuilder::new(), |operation, (status, about)| {
        let content = Content::new(Some(Ref::from_schema_name("ErrorBody")));
        operation.response(
            *status,
            ResponseBuilder::new().description(*about).content("application/json", content).build(),
        )
    })
}

/// The key is needed only if the server was started with one.
fn with_key(operation: OperationBuilder) -> OperationBuilder {
    operation.security(SecurityRequirement::default()).security(SecurityRequirement::new("key", [""; 0]))
}

/// The schema of a parameter.
fn schema(parameter: &Parameter) -> Value {
    let mut schema = match parameter.values {
        Values::Flag => json!({ "type": ["boolean", "null"] }),
        Values::Whole(least, most) => {
            json!({ "type": ["integer", "null"], "minimum": least, "maximum": most })
        }
        Values::Number(least, most) => {
            json!({ "type": ["number", "null"], "minimum": least, "maximum": most })
        }
        Values::Above(least, most) => {
            json!({ "type": ["number", "null"], "exclusiveMinimum": least, "maximum": most })
        }
        Values::Text => json!({ "type": ["string", "null"] }),
        Values::Any => any(parameter.name),
    };
    schema["description"] = parameter.about.into();
    schema
}

/// The schema of a parameter that code reads.
fn any(name: &str) -> Value {
    let text = json!({ "type": "string" });
    let stop = json!({ "type": "string", "minLength": 1, "maxLength": p::LONGEST_STOP });
    let ids = json!({ "type": "array", "minItems": 1, "items": { "type": "integer", "minimum": 0 } });
    let most = p::MOST_CHOICES;
    match name {
        "prompt" => json!({ "oneOf": [
            text, ids,
            { "type": "array", "minItems": 1, "maxItems": most, "items": text },
            { "type": "array", "minItems": 1, "maxItems": most, "items": ids },
        ] }),
        "stop" => json!({ "oneOf": [
            { "type": "null" }, stop, { "type": "array", "maxItems": p::MOST_STOPS, "items": stop },
        ] }),
        "logit_bias" => json!({
            "type": ["object", "null"],
            "propertyNames": { "type": "string", "pattern": "^[0-9]{1,9}$" },
            "additionalProperties": { "type": "number", "minimum": -100, "maximum": 100 },
        }),
        "stream_options" => json!({
            "type": ["object", "null"],
            "properties": { "include_usage": { "type": ["boolean", "null"] } },
            "additionalProperties": false,
        }),
        _ => json!({ "type": "array", "minItems": 1, "items": {
            "type": "object",
            "required": ["role", "content"],
            "properties": {
                "role": { "type": "string", "enum": ROLES.map(|(role, _)| role) },
                "content": text,
                "name": { "type": ["string", "null"] },
            },
            "additionalProperties": false,
        } }),
    }
}

fn request(own: &[Parameter], required: &str) -> Value {
    let known = p::COMMON.iter().chain(own).map(|parameter| (parameter.name, schema(parameter)));
    let ignored =
        p::WITHOUT_EFFECT.into_iter().map(|name| (name, json!({ "description": "Without effect." })));
    let properties: BTreeMap<&str, Value> = known.chain(ignored).collect();
    json!({ "type": "object", "required": [required], "properties": properties, "additionalProperties": false })
}

fn chat() -> Value {
    request(&[p::MESSAGES, p::LOGPROBS, p::TOP_LOGPROBS], p::MESSAGES.name)
}

fn completion() -> Value {
    request(&[p::PROMPT, p::COMPLETION_LOGPROBS], p::PROMPT.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every reference in a document.
    fn references(value: &Value) -> Vec<&str> {
        match value {
            Value::Object(map) => {
                let own = map.get("$ref").and_then(Value::as_str);
                own.into_iter().chain(map.values().flat_map(references)).collect()
            }
            Value::Array(list) => list.iter().flat_map(references).collect(),
            _ => vec![],
        }
    }

    #[test]
    fn every_reference_of_the_document_leads_to_a_schema() {
        let document: Value = serde_json::from_str(&written().unwrap()).unwrap();
        let references = references(&document);
        assert!(references.len() > 20, "{references:?}");
        for reference in references {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
    }

    #[test]
    fn a_request_names_every_parameter_once() {
        let schema = chat();
        let names = schema["properties"].as_object().unwrap();
        assert_eq!(names.len(), p::COMMON.len() + 3 + p::WITHOUT_EFFECT.len());
        assert_eq!(names["temperature"]["maximum"], 2.0);
    }
}
