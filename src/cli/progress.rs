//! Shows on stderr what is being done, only on a terminal, and only if it takes long.

use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How long the program waits before it shows a progress line.
const PATIENCE: Duration = Duration::from_secs(2);

/// A progress line. It disappears when dropped.
pub struct Progress(ProgressBar);

impl Progress {
    /// Starts with the message `what`.
    pub fn start(what: &str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.set_message(what.to_owned());
        let late = bar.downgrade();
        // Without room for another thread, the line does not appear.
        let _ = thread::Builder::new().spawn(move || {
            thread::sleep(PATIENCE);
            if let Some(bar) = late.upgrade() {
                bar.set_draw_target(ProgressDrawTarget::stderr());
                bar.enable_steady_tick(Duration::from_millis(120));
            }
        });
        Self(bar)
    }

    /// Changes the message to `what`.
    pub fn now(&self, what: &str) {
        self.0.set_message(what.to_owned());
    }

    /// Runs a function that prints, with the progress line hidden.
    pub fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }
}

/// Clears the progress line from outside, for a program that is about to exit.
pub fn wipe() {
    let mut stderr = io::stderr();
    if stderr.is_terminal() {
        let _ = stderr.write_all(b"\r\x1b[2K");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
