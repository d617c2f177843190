//! Ctrl-C: prints which files were written, and exits with code 130.

use super::stderr::say;
use super::{files, progress};

/// The exit code that shells expect from a program that SIGINT ended.
const CODE: i32 = 130;

/// From now on, Ctrl-C ends the program only between files, never while one is being written.
pub fn heed() {
    // If no handler can be set, the system's default ends the program; files are still complete.
    let _ = ctrlc::set_handler(|| {
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
