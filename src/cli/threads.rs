//! `--threads`: Candle's two thread pools read their size from the environment, once, and a running
//! program must not change its own environment. So the program starts itself again with the
//! variables set.

use std::process::Command;

use rbees_check::{Error, Result};

/// The pools of matrix products, and of quantised products and fused attention.
const VARIABLES: [&str; 2] = ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"];

/// Returns where the pools will have `threads` threads; elsewhere does not return.
pub fn limit(threads: Option<u16>) -> Result<()> {
    let Some(threads) = threads.map(|n| n.to_string()) else { return Ok(()) };
    if VARIABLES.iter().all(|name| std::env::var(name).is_ok_and(|value| value == threads)) {
        return Ok(());
    }
    let hint = "set RAYON_NUM_THREADS and CANDLE_NUM_THREADS instead of --threads";
    let failed =
        |error: std::io::Error| Error::input(format!("--threads: cannot start again: {error}"), hint);
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.args(std::env::args_os().skip(1)).envs(VARIABLES.map(|name| (name, &threads)));
    again(command).map_err(failed)
}

/// Becomes that program.
#[cfg(unix)]
fn again(mut command: Command) -> std::io::Result<()> {
    Err(std::os::unix::process::CommandExt::exec(&mut command))
}

/// Runs that program and ends as it ends.
#[cfg(not(unix))]
fn again(mut command: Command) -> std::io::Result<()> {
    // Ctrl-C reaches both: that program says so, this one waits for it.
    let _ = ctrlc::set_handler(|| {});
    let status = command.status()?;
    std::process::exit(status.code().unwrap_or(2))
}
