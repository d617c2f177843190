//! Verdicts → what a person reads, and what a program reads.

pub mod baseline;
pub mod json;
#[cfg(feature = "cli")]
pub mod junit;
mod text;

pub use text::{detail, finding, first_wrong, line, summary, trouble, verbose};
