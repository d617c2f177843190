//! Errors as OpenAI's API sends them: `{"error": {"message", "type", "param", "code"}}`.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use rbees_check::Error;
use rbees_check::engine::Refusal;
use serde::Serialize;
use utoipa::ToSchema;

/// Why a request was not answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    pub status: StatusCode,
    code: &'static str,
    /// The parameter that is wrong, as a path: `messages[0].role`.
    param: Option<String>,
    message: String,
    header: Option<(HeaderName, &'static str)>,
}

/// The body of every answer that is an error.
#[derive(Serialize, ToSchema)]
pub struct ErrorBody<'a> {
    error: ErrorContent<'a>,
}

#[derive(Serialize, ToSchema)]
pub struct ErrorContent<'a> {
    /// What is wrong, in one line.
    message: &'a str,
    /// The kind of error: `invalid_request_error`, `rate_limit_error` or `server_error`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The parameter that is wrong.
    #[schema(required)]
    param: Option<&'a str>,
    /// A name for this error, for programs.
    code: &'static str,
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, param: None, message: message.into(), header: None }
    }

    fn about(param: &str, code: &'static str, message: impl Into<String>) -> Self {
        Self { param: Some(param.to_owned()), ..Self::new(StatusCode::BAD_REQUEST, code, message) }
    }

    /// A parameter whose value cannot be used.
    pub fn invalid(param: &str, why: impl std::fmt::Display) -> Self {
        Self::about(param, "invalid_value", format!("{param}: {why}"))
    }

    /// A parameter that would change the output, and that this server does not support.
    pub fn unsupported(param: &str, why: &str) -> Self {
        Self::about(param, "unsupported_parameter", format!("{param}: {why}"))
    }

    /// A parameter that this server does not know.
    pub fn unknown(param: &str) -> Self {
        let message = format!("{param}: this server does not know this parameter, so it cannot follow it");
        Self::about(param, "unknown_parameter", message)
    }

    /// The body is not JSON.
    pub fn not_json(why: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_json", format!("the body is not valid JSON: {why}"))
    }

    /// The prompt, a parameter with this name, does not fit.
    pub fn too_long(param: &str, tokens: usize, limit: usize) -> Self {
        let message = format!("{param}: this needs {tokens} tokens, but at most {limit} fit");
        Self::about(param, "context_length_exceeded", message)
    }

    /// An error of this program about the value of a parameter.
    pub fn of_value(param: &str, error: &Error) -> Self {
        match error {
            Error::Input { what, hint } => Self::invalid(param, format!("{what}; {hint}")),
            other => Self::internal(&other.to_string()),
        }
    }

    /// A request that the engine did not accept. `param` is the name of the prompt.
    pub fn refused(refusal: &Refusal, param: &str) -> Self {
        match refusal {
            Refusal::Full => Self {
                header: Some((RETRY_AFTER, "1")),
                ..Self::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "queue_full",
                    "as many requests wait as this server allows",
                )
            },
            Refusal::Stopping => Self::stopping(),
            Refusal::TooLong { tokens, limit } => Self::too_long(param, *tokens, *limit),
            Refusal::Bad(error) => Self::of_value(param, error),
        }
    }

    /// The server accepts no more requests.
    pub fn stopping() -> Self {
        Self {
            header: Some((RETRY_AFTER, "5")),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "this server is about to end")
        }
    }

    /// Something failed here, not in the request.
    pub fn internal(what: &str) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", what)
    }

    /// The key is missing or wrong.
    pub fn no_key() -> Self {
        let message = "this server needs its key: send it as `Authorization: Bearer KEY`";
        Self {
            header: Some((WWW_AUTHENTICATE, "Bearer")),
            ..Self::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message)
        }
    }

    /// The path exists, but not with this method.
    pub fn method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path does not take this method")
    }

    /// The error as JSON, for an event of a stream that began well.
    pub fn json(&self) -> String {
        let kind = match self.status.as_u16() {
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        let error =
            ErrorContent { message: &self.message, kind, param: self.param.as_deref(), code: self.code };
        serde_json::to_string(&ErrorBody { error }).unwrap_or_else(|_| "{\"error\":{}}".into())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.json()));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}
