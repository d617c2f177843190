//! Verdicts → what a person reads.

mod text;

pub use text::{detail, finding, first_wrong, line, summary, verbose};
