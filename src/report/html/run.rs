//! The run that the HTML page shows.

use crate::judge::Outcome;
use crate::report::json::Report;

/// The input of the page.
#[derive(Clone, Copy, Debug)]
pub struct PageInput<'a> {
    /// The run as data; the page adds no other facts.
    pub report: &'a Report,
    /// The outcomes from which the report was made. They also contain the error of each row and head.
    pub outcomes: &'a [Outcome],
    /// The command that was run: `rbees-check run all --model x`.
    pub command: &'a str,
    /// Its flags, each preceded by a space, used to print commands for other checkpoints.
    pub flags: &'a str,
}
