//! `rbees-check`: parses the arguments, runs the command and returns its exit code.

mod cli;

use std::process::ExitCode;

/// Tensors of many megabytes come and go with every operation. glibc's allocator returns such memory to the system
/// and gets it back page by page: on a long recording that takes more time than the computation.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = cli::arguments();
    match cli::perform(arguments) {
        Ok(ending) => ending.code(),
        Err(error) => cli::give_up(&error),
    }
}
