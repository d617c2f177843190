//! The key that clients must send.

use std::path::Path;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use rbees_check::{Error, Result, files};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Size limit for the file of a key, in bytes.
const LIMIT: u64 = 4096;
/// The shortest key. Shorter ones can be guessed.
const SHORTEST: usize = 16;

/// A key, of which only the hash is kept.
#[derive(Clone, Debug)]
pub struct Key([u8; 32]);

impl Key {
    /// Reads the key in a file: one line, without spaces.
    ///
    /// # Errors
    /// The file cannot be read, or has no usable key.
    pub fn read(path: &Path) -> Result<Self> {
        let hint =
            "write one key of at least 16 characters to the file, for example with `openssl rand -hex 32`";
        let text = files::read_text(path, LIMIT, hint)?;
        let key = text.trim();
        let problem = if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            "the key has characters that a header cannot have, or several lines"
        } else if key.len() < SHORTEST {
            "the key is shorter than 16 characters"
        } else {
            return Ok(Self::of(key));
        };
        Err(Error::file(path, problem, hint))
    }

    fn of(key: &str) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// Whether the headers have this key. The time that this takes does not depend on how much of a key is right.
    pub fn is_in(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (scheme, key) = given.split_once(' ').unwrap_or_default();
        scheme.eq_ignore_ascii_case("bearer") && bool::from(Self::of(key.trim()).0.ct_eq(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const KEY: &str = "0123456789abcdef";

    #[rstest]
    #[case::right("Bearer 0123456789abcdef", true)]
    #[case::any_case("bearer  0123456789abcdef", true)]
    #[case::prefix("Bearer 0123456789abcde", false)]
    #[case::longer("Bearer 0123456789abcdef0", false)]
    #[case::other_scheme("Basic 0123456789abcdef", false)]
    #[case::no_scheme("0123456789abcdef", false)]
    fn only_the_key_itself_is_accepted(#[case] value: &str, #[case] accepted: bool) {
        let mut headers = HeaderMap::new();
        assert!(!Key::of(KEY).is_in(&headers));
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        assert_eq!(Key::of(KEY).is_in(&headers), accepted);
    }

    #[rstest]
    #[case::with_a_line_end("0123456789abcdef\n", None)]
    #[case::short("secret", Some("shorter than 16"))]
    #[case::empty("", Some("shorter than 16"))]
    #[case::two("0123456789abcdef\n0123456789abcdef", Some("several lines"))]
    fn a_file_has_one_key(#[case] text: &str, #[case] problem: Option<&str>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        match (Key::read(file.path()), problem) {
            (Ok(_), None) => {}
            (Err(error), Some(problem)) => assert!(error.to_string().contains(problem), "{error}"),
            (read, _) => panic!("{read:?}"),
        }
    }
}
