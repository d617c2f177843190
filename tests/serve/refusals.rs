//! What cannot be served is refused with a status, a code and the parameter's name.

use rstest::rstest;
use serde_json::{Value, json};

use super::client::{Answer, get, post, send};
use super::server::Server;

const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/v1/completions";
const JSON: (&str, &str) = ("Content-Type", "application/json");

/// The status of an error, its code and its parameter.
fn refused(answer: Answer) -> (u16, String, String) {
    let status = answer.status;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("access-control-allow-origin"), None);
    let json = answer.json();
    let error = json["error"].as_object().unwrap();
    let mut names: Vec<&str> = error.keys().map(String::as_str).collect();
    names.sort();
    assert_eq!(names, ["code", "message", "param", "type"]);
    let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
    (status, text("code"), text("param"))
}

#[rstest]
#[case::unknown(TEXT, json!({ "prompt": "a", "temprature": 1 }), 400, "unknown_parameter", "temprature")]
#[case::unsupported(CHAT, json!({ "tools": [{}] }), 400, "unsupported_parameter", "tools")]
#[case::template(CHAT, json!({ "chat_template": "{{ 1 }}" }), 400, "unsupported_parameter", "chat_template")]
#[case::range(TEXT, json!({ "prompt": "a", "temperature": 3 }), 400, "invalid_value", "temperature")]
#[case::kind(TEXT, json!({ "prompt": "a", "n": "2" }), 400, "invalid_value", "n")]
#[case::choices(TEXT, json!({ "prompt": ["a", "b"], "n": 16 }), 400, "invalid_value", "prompt")]
#[case::alternatives(TEXT, json!({ "prompt": "a", "logprobs": 21 }), 400, "invalid_value", "logprobs")]
#[case::role(CHAT, json!({ "messages": [{ "role": "cat", "content": "" }] }), 400, "invalid_value", "messages[0].role")]
#[case::no_prompt(TEXT, json!({}), 400, "invalid_value", "prompt")]
#[case::token(TEXT, json!({ "prompt": [70000] }), 400, "invalid_value", "prompt")]
#[case::bias(TEXT, json!({ "prompt": "a", "logit_bias": { "70000": 1 } }), 400, "invalid_value", "logit_bias")]
#[case::long(TEXT, json!({ "prompt": "word ".repeat(4000) }), 400, "context_length_exceeded", "prompt")]
#[case::model(TEXT, json!({ "prompt": "a", "model": "gpt-4" }), 404, "model_not_found", "")]
fn a_parameter_is_named(
    #[case] path: &str,
    #[case] more: Value,
    #[case] status: u16,
    #[case] code: &str,
    #[case] param: &str,
) {
    let server = Server::unchecked(&[]);
    let mut body =
        if path == CHAT { json!({ "messages": [{ "role": "user", "content": "a" }] }) } else { json!({}) };
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    assert_eq!(refused(post(server.port, path, &body)), (status, code.to_owned(), param.to_owned()));
}

#[test]
fn parameters_without_effect_are_accepted() {
    let server = Server::unchecked(&[]);
    let body = json!({
        "prompt": "a", "max_tokens": 1, "user": "me", "metadata": { "a": "b" }, "store": true, "echo": false,
        "best_of": 1, "suffix": null,
    });
    assert_eq!(post(server.port, TEXT, &body).status, 200);
}

#[rstest]
#[case::no_json(&[JSON], b"{", 400, "invalid_json")]
#[case::no_utf8(&[JSON], b"{\"prompt\": \"\xff\"}", 400, "invalid_json")]
#[case::twice(&[JSON], b"{\"prompt\": \"a\", \"prompt\": \"b\"}", 400, "invalid_json")]
#[case::no_object(&[JSON], b"[]", 400, "invalid_json")]
#[case::no_type(&[], b"{}", 415, "unsupported_media_type")]
#[case::a_form(&[("Content-Type", "application/x-www-form-urlencoded")], b"{}", 415, "unsupported_media_type")]
#[case::text(&[("Content-Type", "text/plain")], b"{}", 415, "unsupported_media_type")]
#[case::other_host(&[JSON, ("Host", "evil.example")], b"{}", 403, "forbidden_host")]
#[case::other_origin(&[JSON, ("Origin", "http://evil.example")], b"{}", 403, "forbidden_origin")]
#[case::no_origin(&[JSON, ("Origin", "null")], b"{}", 403, "forbidden_origin")]
fn a_request_must_be_json_from_here(
    #[case] headers: &[(&str, &str)],
    #[case] body: &[u8],
    #[case] status: u16,
    #[case] code: &str,
) {
    let server = Server::unchecked(&[]);
    let answer = send(server.port, &format!("POST {TEXT}"), headers, body);
    assert_eq!(refused(answer), (status, code.to_owned(), String::new()));
}

#[test]
fn bodies_are_limited_in_size_and_depth() {
    let server = Server::unchecked(&["--max-body", "1000"]);
    let line = format!("POST {TEXT}");
    let large = refused(send(server.port, &line, &[JSON], &vec![b' '; 3 << 20]));
    assert_eq!((large.0, large.1.as_str()), (413, "body_too_large"));
    let deep = [b"[".repeat(100), b"]".repeat(100)].concat();
    assert_eq!(refused(send(server.port, &line, &[JSON], &deep)).1, "invalid_json");
}

#[test]
fn other_paths_and_methods_are_errors() {
    let server = Server::unchecked(&["--allow-host", "model.example"]);
    assert_eq!(refused(get(server.port, "/v1/embeddings")).0, 404);
    let answer = get(server.port, TEXT);
    assert_eq!(answer.header("allow"), Some("POST"));
    assert_eq!(refused(answer).0, 405);
    assert_eq!(send(server.port, "GET /health", &[("Host", "model.example:99")], b"").status, 200);
}

#[test]
fn a_key_protects_all_but_the_page_and_health() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "a-key-of-more-than-16-characters\n").unwrap();
    let server = Server::unchecked(&["--api-key-file", file.path().to_str().unwrap()]);
    let with = |path: &str, key: &str| {
        send(server.port, &format!("GET {path}"), &[("Authorization", key)], b"").status
    };
    for path in ["/health", "/", "/openapi.json"] {
        assert_eq!(get(server.port, path).status, 200, "{path}");
    }
    for (path, status) in [("/v1/models", 200), ("/metrics", 200), ("/v1/verdict", 404)] {
        let answer = get(server.port, path);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        assert_eq!(refused(answer), (401, "invalid_api_key".into(), String::new()), "{path}");
        assert_eq!(with(path, "Bearer another-key-of-more-than-16-ch"), 401, "{path}");
        assert_eq!(with(path, "Bearer a-key-of-more-than-16-characters"), status, "{path}");
    }
    assert_eq!(refused(post(server.port, TEXT, &json!({ "prompt": "a" }))).0, 401);
}
