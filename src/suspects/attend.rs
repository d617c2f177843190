//! What a port can choose in an attention.

use super::Evidence;
use super::soft::HalfSoftmax;
use crate::oracle::{Heads, Slots};
use crate::probe::Kind;

/// Everything that a port can choose.
#[derive(Clone)]
pub(super) struct Attend {
    /// Query heads on key heads, and the scale of scores.
    pub heads: Heads,
    /// Query heads on value heads.
    pub values: Heads,
    /// Who sees whom.
    pub sees: Sees,
    /// What a barred score is in the sum of the softmax: 0, or e^0 for padding, or for all.
    pub leaks: Leaks,
    /// The softmax in half precision, if it is.
    pub soft: Option<HalfSoftmax>,
    /// How keys and values are read.
    pub misread: Option<Misread>,
}

/// Which slots a query sees, of those that hold a token unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Sees {
    Past,
    All {
        pads: bool,
    },
    Future {
        own: bool,
    },
    /// As if this call were the first.
    FromZero,
    /// As the batch's first row.
    AsRow0,
    /// The past without the token itself.
    Before,
    /// The last so many.
    Last(usize),
    /// The past, and padding, whose scores are as they come, or 0.
    Pads {
        zero: bool,
    },
}

/// Barred scores that a softmax counts as 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Leaks {
    None,
    Pads,
    All,
}

impl Sees {
    /// Does the query in slot `own` see key `key`, which is padding or not? `real` are the slots that hold
    /// a token.
    pub fn sees(self, e: &Evidence<'_>, real: &Slots, own: usize, (key, pad): (usize, bool)) -> bool {
        match self {
            Self::Past => !pad && key <= own,
            Self::Pads { .. } => key <= own,
            Self::All { pads } => pads || !pad,
            Self::Future { own: too } => !pad && (key > own || (too && key == own)),
            Self::FromZero => !pad && key + e.red.window.start <= own,
            Self::AsRow0 => key <= own && real.at(0, key).is_some(),
            Self::Before => !pad && key < own,
            Self::Last(n) => !pad && key <= own && own - key < n,
        }
    }
}

/// Memory read without its strides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Misread {
    /// `[seq, heads, head_dim]` as `[heads, seq, head_dim]`.
    Heads,
    /// A cache of `length` slots a head, zeros where nothing was written, as one of as many as are full.
    Buffer { length: usize },
}

/// Is the site computed from queries and keys here?
pub(super) fn from_queries(e: &Evidence<'_>) -> bool {
    e.red.site.kind == Kind::Scores || fused(e)
}

/// A fused kernel: from queries, keys and values to their context.
pub(super) fn fused(e: &Evidence<'_>) -> bool {
    e.red.site.kind == Kind::Context && e.red.hides.contains(&Kind::Probs)
}
