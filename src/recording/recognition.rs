//! What was recognised in a recording although nothing in it states it.

use std::fmt;

/// One assumption under which a recording is read.
#[derive(Clone, Debug, PartialEq)]
pub struct Recognition {
    /// What was recognised, as a sentence without a full stop: `masked scores are -1e9 instead of -inf`.
    pub what: String,
    /// What states it explicitly: a line of the `--map` file or of the metadata.
    pub explicit: String,
}

impl fmt::Display for Recognition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; to state it: {}", self.what, self.explicit)
    }
}
