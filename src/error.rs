//! One error type: a line that names the file or flag, and a hint that says what to do.

use std::fmt::Display;
use std::path::Path;

/// What stopped the harness. Never a verdict: a wrong tensor is a [`crate::judge::Verdict`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input cannot be used as it is.
    #[error("{what}")]
    Input {
        /// One lower-case line that names the file or flag and what is wrong with it.
        what: String,
        /// What the user can do about it.
        hint: String,
    },
    /// A tensor operation failed.
    #[error("candle: {}", first_line(.0))]
    Candle(#[from] candle_core::Error),
}

/// Behind it Candle prints the backtrace that `RUST_BACKTRACE` asks for.
fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// [`std::result::Result`] with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An unusable input: `what` names the file or flag, `hint` says what to do.
    pub fn input(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Input { what: what.into(), hint: hint.into() }
    }

    /// An unusable file: `path: problem`.
    pub fn file(path: impl AsRef<Path>, problem: impl Display, hint: impl Into<String>) -> Self {
        Self::input(format!("{}: {problem}", path.as_ref().display()), hint)
    }

    /// What the user can do about it, where we know.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Input { hint, .. } => Some(hint),
            Self::Candle(_) => None,
        }
    }
}

/// So that `?` takes this error out of functions that speak Candle, as a port's own do.
impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Candle(error) => error,
            input => Self::wrap(input),
        }
    }
}
