//! The error type: one line that names the file or flag, and a hint that says what to do.

use std::fmt::Display;
use std::path::{Path, PathBuf};

/// Why rbees-check could not judge. A wrong tensor is not an error but a [`crate::judge::Verdict`].
///
/// ```no_run
/// use rbees_check::{Error, models};
///
/// match models::open("smollm2-135m") {
///     Ok(model) => println!("{}", model.weights.describe()),
///     Err(Error::Missing { path, .. }) => println!("skipped: {} is not there", path.display()),
///     Err(error) => panic!("{error} ({})", error.hint().unwrap_or_default()),
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read, or its content cannot be used.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file or folder. For a model that is compiled in, its name.
        path: PathBuf,
        /// One lower-case line that says what is wrong with it.
        problem: String,
        /// What the user can do about it.
        hint: String,
    },
    /// A file does not exist, for example because a model has not been fetched.
    #[error("{what}")]
    Missing {
        /// Where the file was expected.
        path: PathBuf,
        /// One lower-case line that names the file or the model.
        what: String,
        /// What the user can do about it.
        hint: String,
    },
    /// An argument, a name or a value cannot be used.
    #[error("{what}")]
    Input {
        /// One lower-case line that names the argument, name or value and what is wrong with it.
        what: String,
        /// What the user can do about it.
        hint: String,
    },
    /// rbees-check itself failed, for example to write a report. No input should cause this.
    #[error("{what}")]
    Internal {
        /// One line that names what failed.
        what: String,
    },
    /// A tensor operation failed.
    #[error("candle: {}", first_line(.0))]
    Candle(#[from] candle_core::Error),
}

/// The message without the backtrace that Candle appends if `RUST_BACKTRACE` is set.
fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// [`std::result::Result`] with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An argument, name or value that cannot be used: `what` names it, `hint` says what to do.
    pub fn input(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Input { what: what.into(), hint: hint.into() }
    }

    /// A file that cannot be used: `path: problem`.
    pub fn file(path: impl AsRef<Path>, problem: impl Display, hint: impl Into<String>) -> Self {
        Self::File { path: path.as_ref().to_owned(), problem: problem.to_string(), hint: hint.into() }
    }

    /// A file that does not exist: `path: problem`.
    pub fn missing(path: impl AsRef<Path>, problem: impl Display, hint: impl Into<String>) -> Self {
        let path = path.as_ref();
        Self::Missing {
            path: path.to_owned(),
            what: format!("{}: {problem}", path.display()),
            hint: hint.into(),
        }
    }

    /// A failure of rbees-check itself.
    pub fn internal(what: impl Into<String>) -> Self {
        Self::Internal { what: what.into() }
    }

    /// What the user can do about it, if known.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::File { hint, .. } | Self::Missing { hint, .. } | Self::Input { hint, .. } => Some(hint),
            Self::Internal { .. } => Some("this is a bug of rbees-check: please report it"),
            Self::Candle(_) => None,
        }
    }

    /// A copy of the error. Candle's errors cannot be cloned, so the copy of one keeps only its first line.
    pub(crate) fn copy(&self) -> Self {
        match self {
            Self::File { path, problem, hint } => {
                Self::File { path: path.clone(), problem: problem.clone(), hint: hint.clone() }
            }
            Self::Missing { path, what, hint } => {
                Self::Missing { path: path.clone(), what: what.clone(), hint: hint.clone() }
            }
            Self::Input { what, hint } => Self::Input { what: what.clone(), hint: hint.clone() },
            Self::Internal { what } => Self::Internal { what: what.clone() },
            Self::Candle(error) => Self::Candle(candle_core::Error::Msg(first_line(error))),
        }
    }
}

/// Lets `?` return this error from functions with Candle's error type, which ports often have.
impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Candle(error) => error,
            other => Self::wrap(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::mem::discriminant;

    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::file(Error::file("dir/a.json", "is empty", "fetch it"), "dir/a.json: is empty", Some("fetch it"))]
    #[case::missing(
        Error::missing("dir/a.json", "not there", "fetch it"),
        "dir/a.json: not there",
        Some("fetch it")
    )]
    #[case::input(Error::input("--top-k: 0", "use 1"), "--top-k: 0", Some("use 1"))]
    #[case::internal(
        Error::internal("JSON: x"),
        "JSON: x",
        Some("this is a bug of rbees-check: please report it")
    )]
    #[case::candle(
        Error::Candle(candle_core::Error::Msg("no kernel\n   0: main".into())),
        "candle: no kernel",
        None
    )]
    fn an_error_and_its_copy_have_the_same_variant_line_and_hint(
        #[case] error: Error,
        #[case] line: &str,
        #[case] hint: Option<&str>,
    ) {
        let copy = error.copy();
        assert_eq!(discriminant(&copy), discriminant(&error));
        for error in [error, copy] {
            assert_eq!((error.to_string().as_str(), error.hint()), (line, hint));
        }
    }

    #[test]
    fn file_errors_keep_their_path() {
        for error in [Error::file("a/b", "is empty", "x"), Error::missing("a/b", "not there", "x")] {
            let (Error::File { path, .. } | Error::Missing { path, .. }) = error else { panic!("{error:?}") };
            assert_eq!(path, Path::new("a/b"));
        }
    }

    #[test]
    fn a_candle_error_goes_through_candle_unchanged() {
        let error = Error::Candle(candle_core::Error::Msg("no kernel".into()));
        let back = Error::from(candle_core::Error::from(error));
        assert_eq!(back.to_string(), "candle: no kernel");
    }
}
