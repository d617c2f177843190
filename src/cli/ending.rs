//! The outcome of a command, and its exit code.

use std::process::ExitCode;

/// The outcome of a command.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ending {
    /// Nothing differs.
    Passed,
    /// Something differs or a site was never reached.
    Failed,
    /// Something could not be judged.
    NotJudged,
}

impl Ending {
    /// The exit code for the shell.
    pub fn code(self) -> ExitCode {
        ExitCode::from(self.number())
    }

    /// The exit code as a number, for reports.
    pub fn number(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Failed => 1,
            Self::NotJudged => 2,
        }
    }
}
