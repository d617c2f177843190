//! `rbees-check`: parses the arguments, runs the command and returns its exit code.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = cli::arguments();
    match cli::perform(arguments) {
        Ok(ending) => ending.code(),
        Err(error) => cli::give_up(&error),
    }
}
