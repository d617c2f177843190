//! `--threads`: sets the size of Candle's two thread pools.
//!
//! The pools read their size from the environment, once, and a running program must not change its own
//! environment. So the program restarts itself with the variables set.

use std::process::Command;

use rbees_check::{Error, Result};

/// The first sizes the pool for matrix products; the second, the pool for quantised products and fused
/// attention.
const VARIABLES: [&str; 2] = ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"];

/// Returns if the pools will have `threads` threads. Otherwise restarts the program and does not return.
pub fn limit(threads: Option<u16>) -> Result<()> {
    let Some(threads) = threads.map(|n| n.to_string()) else { return Ok(()) };
    if VARIABLES.iter().all(|name| std::env::var(name).is_ok_and(|value| value == threads)) {
        return Ok(());
    }
    let hint = "set RAYON_NUM_THREADS and CANDLE_NUM_THREADS instead of --threads";
    let failed =
        |error: std::io::Error| Error::input(format!("--threads: cannot restart the program: {error}"), hint);
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.args(std::env::args_os().skip(1)).envs(VARIABLES.map(|name| (name, &threads)));
    again(command).map_err(failed)
}

/// Replaces this process with the command.
#[cfg(unix)]
fn again(mut command: Command) -> std::io::Result<()> {
    Err(std::os::unix::process::CommandExt::exec(&mut command))
}

/// Runs the command and exits with its exit code.
#[cfg(not(unix))]
fn again(mut command: Command) -> std::io::Result<()> {
    // Ctrl-C reaches both processes: the child reports it, and this one waits for the child.
    let _ = ctrlc::set_handler(|| {});
    let status = command.status()?;
    std::process::exit(status.code().unwrap_or(2))
}
