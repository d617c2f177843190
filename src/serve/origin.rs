//! Which `Host` and `Origin` a request may have, so that a web page of somebody else cannot use the server through a
//! browser: neither from another origin, nor with a name that was made to point here.

use std::net::IpAddr;

use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode};

use super::problem::Problem;

/// Checks both headers. `names` are allowed besides `localhost` and IP addresses.
///
/// # Errors
/// `Host` is missing or another name, or `Origin` is another origin.
pub fn check(headers: &HeaderMap, names: &[String]) -> Result<(), Problem> {
    let forbidden = |code, what: &str| Err(Problem::new(StatusCode::FORBIDDEN, code, what));
    let mut hosts = headers.get_all(HOST).into_iter().filter_map(|value| value.to_str().ok());
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return forbidden("forbidden_host", "the header `Host` is missing or given twice");
    };
    let name = without_port(host);
    let known = |own: &String| own.eq_ignore_ascii_case(name);
    if !(name.eq_ignore_ascii_case("localhost") || is_address(name) || names.iter().any(known)) {
        let what =
            "the name in `Host` is not allowed here; use the server's address, or start it with --allow-host";
        return forbidden("forbidden_host", what);
    }
    let mut origins = headers.get_all(ORIGIN).into_iter();
    // A proxy may add TLS.
    let same =
        |origin: &str| ["http://", "https://"].iter().any(|scheme| origin.strip_prefix(scheme) == Some(host));
    if origins.any(|origin| !origin.to_str().is_ok_and(same)) {
        return forbidden("forbidden_origin", "web pages of other origins may not use this server");
    }
    Ok(())
}

/// `[::1]:8080` → `[::1]`.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.is_empty() => name,
        _ => host,
    }
}

fn is_address(name: &str) -> bool {
    let name = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn checked(host: Option<&str>, origin: Option<&str>) -> Option<String> {
        let mut headers = HeaderMap::new();
        host.map(|host| headers.insert(HOST, host.parse().unwrap()));
        origin.map(|origin| headers.insert(ORIGIN, origin.parse().unwrap()));
        check(&headers, &["model.example".into()]).err().map(|problem| problem.json())
    }

    #[rstest]
    #[case("127.0.0.1:8080")]
    #[case("localhost")]
    #[case("LOCALHOST:80")]
    #[case("[::1]:8080")]
    #[case("[::1]")]
    #[case("192.168.1.7:8080")]
    #[case("model.example:8080")]
    fn addresses_and_own_names_are_allowed(#[case] host: &str) {
        assert_eq!(checked(Some(host), None), None);
        assert_eq!(checked(Some(host), Some(&format!("http://{host}"))), None);
        assert_eq!(checked(Some(host), Some(&format!("https://{host}"))), None);
    }

    #[rstest]
    #[case(None, None, "forbidden_host")]
    #[case(Some("evil.example:8080"), None, "forbidden_host")]
    #[case(Some("localhost.evil.example"), None, "forbidden_host")]
    #[case(Some("127.0.0.1.evil.example"), None, "forbidden_host")]
    #[case(Some("127.0.0.1:8080"), Some("http://evil.example"), "forbidden_origin")]
    #[case(Some("127.0.0.1:8080"), Some("http://127.0.0.1:9090"), "forbidden_origin")]
    #[case(Some("127.0.0.1:8080"), Some("null"), "forbidden_origin")]
    fn others_are_refused(#[case] host: Option<&str>, #[case] origin: Option<&str>, #[case] code: &str) {
        assert!(checked(host, origin).unwrap().contains(code));
    }
}
