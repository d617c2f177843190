//! The result of a comparison.

use serde::{Deserialize, Serialize};

use super::along::Along;
use super::shares::Shares;
use crate::files::float;

/// One element, with its indices in the tensor.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Element {
    /// Its index: `[batch, head, position, column]` or `[batch, position, column]`, with the position in the
    /// whole sequence.
    pub index: Vec<usize>,
    /// What the model computed.
    #[serde(with = "float")]
    pub got: f64,
    /// The reference value.
    #[serde(with = "float")]
    pub want: f64,
    /// Allowed error.
    #[serde(with = "float")]
    pub budget: f64,
}

/// How two tensors differ.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Difference {
    /// Elements compared.
    pub elements: usize,
    /// Elements over their row's budget, or NaN or infinite where the reference is not, or the reverse.
    pub differing: usize,
    /// Largest error / budget over all rows, of maximum and root mean square. It is infinite if there are
    /// unexpected NaN or infinite values.
    #[serde(with = "float")]
    pub ratio: f64,
    /// Entries that are NaN or infinite on only one side, or masked on only one side.
    pub unlike: usize,
    /// The element with the largest error / budget.
    pub worst: Option<Element>,
    /// The first differing element, in the reference's memory order.
    pub first: Option<Element>,
    /// Where along each axis it differs.
    pub along: Along,
    /// The share of its budget that each row and head used.
    pub shares: Shares,
}

impl Difference {
    /// Is everything within budget? If nothing was compared, the answer is no.
    pub fn agrees(&self) -> bool {
        self.elements > 0 && self.differing == 0 && self.unlike == 0 && self.ratio <= 1.0
    }
}
