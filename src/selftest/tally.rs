//! Counts for the last line, and whether the harness keeps its promise.

use std::fmt;

use super::Caught;

/// What became of all that was planted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// Mistakes made.
    planted: usize,
    /// Those that turned red exactly what they declare.
    caught: usize,
    /// Those that were named as the likeliest of all suspects, on every path.
    named: usize,
    /// Those in whose place another was named, or, in f32, none.
    misnamed: usize,
    /// Mistakes made that drown in honest rounding here, as they declare.
    unseen: usize,
    /// Rows that are no mistakes, made all the same.
    honest: usize,
    /// Those among them that turned nothing red.
    green: usize,
}

impl Tally {
    /// Counts one row; none where nothing was made of it.
    pub fn count(&mut self, caught: Option<&Caught>) {
        let Some(caught) = caught else { return };
        let as_declared = caught.faults().is_empty();
        if caught.honest() {
            self.honest += 1;
            self.green += usize::from(as_declared);
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

    /// Rows of which something was made.
    pub fn ran(&self) -> usize {
        self.planted + self.unseen + self.honest
    }

    /// Was every mistake caught and none misnamed, and is green what should be?
    pub fn holds(&self) -> bool {
        self.caught == self.planted && self.misnamed == 0 && self.green == self.honest
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
