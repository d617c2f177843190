//! What one step computes, as data: which tokens of which sequences go through the model together.

use crate::model::Input;

/// The rows of one step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Their sequences, in the order of the rows.
    pub parts: Vec<Part>,
}

/// The rows of one sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The sequence that they belong to.
    pub sequence: usize,
    /// The sequence whose cache they use: the same one.
    pub cache: usize,
    /// Their tokens and positions.
    pub input: Input,
    /// The row, counted from the first row of the step, whose logits give the sequence's next token. `None` if the
    /// sequence has more tokens to feed.
    pub sampled: Option<usize>,
}

impl Plan {
    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.parts.iter().map(|part| part.input.len()).sum()
    }
}
