//! The page, the OpenAPI document and the metrics.

use super::client::{get, post};
use super::server::Server;
use serde_json::json;

#[test]
fn the_page_uses_nothing_from_elsewhere() {
    let server = Server::unchecked(&[]);
    for (path, kind) in [("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")] {
        let answer = get(server.port, path);
        assert_eq!(answer.status, 200);
        assert!(answer.header("content-type").unwrap().starts_with(kind));
        let policy = answer.header("content-security-policy").unwrap().to_owned();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; "), "{policy}");
        let text = answer.text();
        assert!(!text.contains("http:") && !text.contains("https:"), "{path}");
    }
}

#[test]
fn the_metrics_count_answers_and_tokens() {
    let server = Server::unchecked(&[]);
    assert_eq!(post(server.port, "/v1/completions", &json!({ "prompt": "a", "max_tokens": 3 })).status, 200);
    let answer = get(server.port, "/metrics");
    assert!(answer.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let text = answer.text();
    for line in [
        "rbees_answers_total{path=\"/v1/completions\",status=\"200\"} 1",
        "rbees_before_first_token_seconds_count 1",
        "rbees_between_tokens_seconds_count 2",
        "rbees_request_seconds_count 1",
        "rbees_tokens_generated_total 3",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} is not in {text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn the_openapi_document_names_every_path() {
    let server = Server::unchecked(&[]);
    let document = get(server.port, "/openapi.json").json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    for path in
        ["/v1/chat/completions", "/v1/completions", "/v1/models", "/v1/verdict", "/metrics", "/health"]
    {
        assert!(document["paths"][path].is_object(), "{path}");
    }
}
