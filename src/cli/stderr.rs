//! What is said on stderr.

use std::io::Write;

/// A line on stderr. If nobody listens there, there is nobody to tell.
pub fn say(line: &str) {
    let _ = writeln!(anstream::stderr(), "{line}");
}
