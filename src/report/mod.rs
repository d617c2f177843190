//! Verdicts → what a person reads.

mod text;

pub use text::{detail, line, summary, verbose};
