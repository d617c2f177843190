//! Attention: which keys a query sees, what barred keys are in a softmax, and memory that is read wrongly.

use crate::oracle::{Pass, Place, Rows, Slot};

/// Which slots a query sees. Padding is not seen unless it is said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::diagnose) enum Sees {
    /// Past and future, and padding or not.
    All { pads: bool },
    /// The future, and its own slot or not.
    Future { own: bool },
    /// The past, as if this call, which begins at slot `start`, were the first.
    FromZero { start: usize },
    /// The past, with the padding of the batch's first row.
    AsRow0,
    /// The past without the token itself.
    Before,
    /// The last so many, its own included.
    Last(usize),
    /// The past, and padding, whose scores are as they come, or 0.
    Pads { zero: bool },
}

impl Sees {
    /// Does the query at this place see the key in slot `key` of its batch row?
    pub fn sees(self, pass: &Pass, (batch, own): Place, key: usize) -> bool {
        let real = |batch| matches!(pass.slot((batch, key)), Some(Slot::Real(_) | Slot::Cached));
        match self {
            Self::All { pads } => pads || real(batch),
            Self::Future { own: too } => real(batch) && (key > own || (too && key == own)),
            Self::FromZero { start } => real(batch) && key + start <= own,
            Self::AsRow0 => real(0) && key <= own,
            Self::Before => real(batch) && key < own,
            Self::Last(n) => real(batch) && key <= own && own - key < n,
            Self::Pads { .. } => key <= own,
        }
    }
}

/// Barred scores that a softmax counts as 0 instead of −inf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::diagnose) enum Leaks {
    /// Those of padded keys.
    Pads,
    /// All.
    All,
}

/// How memory is read by a kernel that ignores strides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::diagnose) enum Misread {
    /// `[seq, heads, head_dim]` as `[heads, seq, head_dim]`.
    Heads,
    /// A cache of `length` slots a head, zeros where nothing was written, as one of as many slots as are full.
    Buffer { length: usize },
}

impl Misread {
    /// Keys or values of one sequence as they are read: `[seq, heads * head_dim]` → the same.
    pub fn read(self, x: &Rows, head_dim: usize) -> Rows {
        let (s, heads) = (x.len(), x.width / head_dim);
        Rows::from_fn(s, x.width, |r, j| {
            let (head, i) = (j / head_dim, j % head_dim);
            let n = head * s + r;
            match self {
                Self::Heads => x.values[n * head_dim + i],
                Self::Buffer { length } => match (n / length, n % length) {
                    (head, slot) if head < heads && slot < s => x.row(slot)[head * head_dim + i],
                    _ => 0.0,
                },
            }
        })
    }
}
