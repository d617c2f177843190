//! Counts the results for the last line, and decides whether the self-test passed.

use std::fmt;

use super::Caught;

/// The counts of all plants.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// Planted mistakes.
    planted: usize,
    /// Planted mistakes for which exactly the declared checkpoints failed.
    caught: usize,
    /// Planted mistakes that were named first on every path.
    named: usize,
    /// Planted mistakes for which another mistake was named, or, in f32, none.
    misnamed: usize,
    /// Planted mistakes that rounding hides in this dtype, as they declare.
    unseen: usize,
    /// Planted rows that are not mistakes.
    harmless: usize,
    /// Those of them for which no checkpoint failed.
    harmless_passed: usize,
}

impl Tally {
    /// Counts one row; `None` if it was not planted.
    pub fn count(&mut self, caught: Option<&Caught>) {
        let Some(caught) = caught else { return };
        let as_declared = caught.faults().is_empty();
        if caught.harmless() {
            self.harmless += 1;
            self.harmless_passed += usize::from(as_declared);
            return;
        }
        if as_declared && caught.unseen().is_some() {
            self.unseen += 1;
            return;
        }
        self.planted += 1;
        self.caught += usize::from(as_declared);
        self.named += usize::from(caught.named());
        self.misnamed += usize::from(!caught.misnamed().is_empty());
    }

    /// The number of planted rows.
    pub fn ran(&self) -> usize {
        self.planted + self.unseen + self.harmless
    }

    /// Whether every mistake was caught, none was misnamed, and rows that are not mistakes failed no
    /// checkpoint.
    pub fn holds(&self) -> bool {
        self.caught == self.planted && self.misnamed == 0 && self.harmless_passed == self.harmless
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { planted, caught, named, .. } = self;
        write!(f, "planted: {planted}  caught: {caught}  named: {named}")?;
        match self.unseen {
            0 => Ok(()),
            unseen => write!(f, "  unseen: {unseen}"),
        }
    }
}
