//! Ctrl-C: prints which files were written, and exits with code 130.

use std::sync::{Mutex, PoisonError};

use super::stderr::say;
use super::{files, progress};

/// The exit code that shells expect from a program that SIGINT ended.
const CODE: i32 = 130;

/// What the next Ctrl-C does instead of ending the program.
static INSTEAD: Mutex<Option<Box<dyn FnOnce() + Send>>> = Mutex::new(None);

/// From now on, Ctrl-C ends the program only between files, never while one is being written.
pub fn heed() {
    // If no handler can be set, the system's default ends the program; files are still complete.
    let _ = ctrlc::set_handler(|| {
        let instead = INSTEAD.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(action) = instead {
            return action();
        }
        let written = files::written();
        let names: Vec<String> = written.iter().map(|path| path.display().to_string()).collect();
        progress::wipe();
        say(&match names.as_slice() {
            [] => "interrupted: no file was written".to_owned(),
            names => format!("interrupted: wrote {}", names.join(", ")),
        });
        std::process::exit(CODE);
    });
}

/// The next Ctrl-C calls `action`; the one after it ends the program.
#[cfg(feature = "serve")]
pub fn instead(action: impl FnOnce() + Send + 'static) {
    *INSTEAD.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(action));
}
