//! Ctrl-C: one line that says what there is, and exit code 130.

use super::stderr::say;
use super::{files, progress};

/// What a shell expects of a program that ended by SIGINT.
const CODE: i32 = 130;

/// From here on Ctrl-C ends the program between two files, never inside one.
pub fn heed() {
    // Where no handler can be set the system's own ends the program: files are whole all the same.
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
