//! Verdicts → what a person reads.

mod text;

pub use text::{detail, finding, line, summary, verbose};
