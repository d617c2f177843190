//! Escapes text from files before it is printed.

pub use rbees_check::files::{one_line, printable as escaped};
