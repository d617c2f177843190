//! How a command ended, and its exit code.

use std::process::ExitCode;

/// How it ended, once everything is said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ending {
    /// Nothing differs.
    Passed,
    /// Something differs or was never reached.
    Failed,
    /// Something could not be judged.
    NotJudged,
}

impl Ending {
    /// For the shell.
    pub fn code(self) -> ExitCode {
        ExitCode::from(self.number())
    }

    /// As a number, as reports have it.
    pub fn number(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Failed => 1,
            Self::NotJudged => 2,
        }
    }
}
