//! Writing to stderr.

use std::io::Write;

/// Writes a line to stderr. Errors are ignored: there is nowhere to report them.
pub fn say(line: &str) {
    let _ = writeln!(anstream::stderr(), "{line}");
}
