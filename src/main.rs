//! `rbees-check`: parses the arguments, runs the command and returns its exit code.

mod allocator;
mod cli;
#[cfg(feature = "serve")]
mod serve;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

fn main() -> ExitCode {
    match cli::arguments().and_then(cli::perform) {
        Ok(ending) => ending.code(),
        Err(error) => cli::give_up(&error),
    }
}
