//! Turns verdicts into reports: text, HTML, JUnit XML and JSON.

pub mod baseline;
mod detail;
#[cfg(feature = "cli")]
pub mod html;
pub mod json;
#[cfg(feature = "cli")]
pub mod junit;
pub mod merge;
mod scope;
mod text;

pub use detail::{detail, trouble};
pub use text::{finding, first_wrong, line, summary, verbose};
