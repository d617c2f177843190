//! The run that a page is made of.

use crate::judge::Outcome;
use crate::report::json::Report;

/// What a page is made of.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The run as data: the page says no other thing.
    pub report: &'a Report,
    /// The outcomes that it was made of: they know the error of each row and head.
    pub outcomes: &'a [Outcome],
    /// The command that it was: `rbees-check run all --model x`.
    pub command: &'a str,
    /// Its flags, a blank before each, to run another checkpoint with.
    pub flags: &'a str,
}
