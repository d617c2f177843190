//! One of several parts of a run, and everything that is needed to merge them.

use serde::{Deserialize, Serialize};

use super::StaleExpectation;
use crate::judge::{Shard, UnitFindings};

/// A part of a run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Part {
    /// The number of this part, from 1.
    pub number: usize,
    /// The number of parts.
    pub of: usize,
    /// The ids of the checkpoints of the whole run.
    pub checkpoints: Vec<String>,
    /// The checkpoints as the command named them.
    pub command: String,
    /// The other flags of the command, each preceded by a space.
    pub flags: String,
    /// The failures that the settings expect of the whole run.
    pub expected: Vec<StaleExpectation>,
    /// Whether flags selected only a part of what the settings judge, so that a pass makes no expectation stale.
    pub partial: bool,
    /// What was judged in this part.
    pub units: Vec<UnitFindings>,
}

impl Part {
    /// Which part it is.
    pub fn shard(&self) -> Shard {
        Shard { number: self.number, of: self.of }
    }
}
