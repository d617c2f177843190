//! Reads the body of a request: JSON, of limited size and depth, within a time limit.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Request, StatusCode};
use rbees_check::files;
use serde_json::Value;

use super::problem::Problem;

/// The largest body that is read to the end before it is refused, in bytes: many clients read no answer before they
/// have sent everything.
const MOST_DISCARDED: usize = 32 << 20;
/// How deep lists and objects may be nested. Requests of OpenAI's API have depth 5.
const DEEPEST: usize = 32;

/// Reads the body.
///
/// # Errors
/// It is not declared as JSON, is larger than `limit` bytes, takes longer than `longest`, or is not JSON.
pub async fn json(request: Request<Body>, limit: usize, longest: Duration) -> Result<Value, Problem> {
    let (head, body) = request.into_parts();
    if !is_json(&head.headers) {
        let what = "send the header `Content-Type: application/json`";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", what));
    }
    let bytes = tokio::time::timeout(longest, read(body, limit)).await;
    let bytes = bytes.map_err(|_| {
        let what = format!("the body did not arrive within {} seconds", longest.as_secs());
        Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", what)
    })??;
    parsed(&bytes)
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).into_iter();
    let (first, second) = (values.next().and_then(|value| value.to_str().ok()), values.next());
    let kind = first.and_then(|value| value.split(';').next()).unwrap_or_default();
    second.is_none() && kind.trim().eq_ignore_ascii_case("application/json")
}

async fn read(mut body: Body, limit: usize) -> Result<Vec<u8>, Problem> {
    let (mut bytes, mut discarded) = (Vec::new(), 0);
    let incomplete = || Problem::new(StatusCode::BAD_REQUEST, "incomplete_body", "the body is incomplete");
    while let Some(frame) =
        std::future::poll_fn(|context| std::pin::Pin::new(&mut body).poll_frame(context)).await
    {
        let Ok(data) = frame.map_err(|_| incomplete())?.into_data() else { continue };
        if discarded == 0 && bytes.len() + data.len() <= limit {
            bytes.extend_from_slice(&data);
            continue;
        }
        discarded += data.len();
        if discarded > MOST_DISCARDED {
            break;
        }
    }
    if discarded > 0 {
        let what = format!("the body is larger than {limit} bytes");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", what));
    }
    Ok(bytes)
}

fn parsed(bytes: &[u8]) -> Result<Value, Problem> {
    std::str::from_utf8(bytes).map_err(|error| Problem::not_json(format!("it is not UTF-8 ({error})")))?;
    if depth(bytes) > DEEPEST {
        return Err(Problem::not_json(format!("lists and objects are nested more than {DEEPEST} deep")));
    }
    files::json(bytes).map_err(|error| Problem::not_json(files::printable(&error.to_string())))
}

/// How deep brackets are nested, outside strings.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest, mut text, mut escaped) = (0usize, 0, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if text => escaped = true,
            b'"' => text = !text,
            b'[' | b'{' if !text => depth += 1,
            b']' | b'}' if !text => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("application/json", true)]
    #[case("Application/JSON; charset=utf-8", true)]
    #[case("text/plain", false)]
    #[case("application/x-www-form-urlencoded", false)]
    #[case("", false)]
    fn only_json_is_accepted(#[case] value: &'static str, #[case] accepted: bool) {
        let mut headers = HeaderMap::new();
        assert!(!is_json(&headers));
        headers.append(CONTENT_TYPE, value.parse().unwrap());
        assert_eq!(is_json(&headers), accepted);
        headers.append(CONTENT_TYPE, "application/json".parse().unwrap());
        assert!(!is_json(&headers));
    }

    #[rstest]
    #[case(br#"{"a": "[[[\"[[", "b": [1]}"#, 2)]
    #[case(b"[[[[]]]]", 4)]
    #[case(b"1", 0)]
    fn brackets_in_strings_are_not_nested(#[case] text: &[u8], #[case] want: usize) {
        assert_eq!(depth(text), want);
    }

    #[rstest]
    #[case(b"{\"a\": \xff}".to_vec(), "not UTF-8")]
    #[case([b"[".repeat(33), b"]".repeat(33)].concat(), "nested more than 32 deep")]
    #[case(b"{\"n\": 1, \"n\": 2}".to_vec(), "duplicate key")]
    #[case(b"{\"n\": ".to_vec(), "EOF")]
    #[case(b"".to_vec(), "EOF")]
    fn what_is_not_json_is_refused(#[case] bytes: Vec<u8>, #[case] message: &str) {
        let problem = parsed(&bytes).unwrap_err().json();
        assert!(problem.contains(message), "{problem}");
    }
}
