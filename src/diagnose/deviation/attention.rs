//! Deviations in attention: which keys a query sees, masked keys that count in the softmax, ignored strides.

use crate::graph::Mask;
use crate::oracle::{Pass, Place, Rows, Slot};

/// Which slots a query sees. Padding is not visible unless a variant says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::diagnose) enum Sees {
    /// Past and future tokens, with or without padding.
    All { pads: bool },
    /// Future tokens, with or without its own slot.
    Future { own: bool },
    /// Past tokens, with the mask of a call that begins at slot 0 although this one begins at slot `start`.
    FromZero { start: usize },
    /// Past tokens, with the padding mask of the batch's first row.
    AsRow0,
    /// Past tokens without the token itself.
    Before,
    /// The last so many tokens, its own included.
    Last(usize),
    /// Past tokens and padding; the scores of padding are computed, or 0 if `zero`.
    Pads { zero: bool },
    /// Past tokens and so many tokens ahead.
    Ahead(usize),
    /// Tokens fewer than so many positions away, on both sides.
    Within(usize),
    /// Past tokens of the same chunk of so many.
    Chunk(usize),
    /// Past tokens, and the first so many tokens always.
    Prefix(usize),
    /// Past tokens at distances that are multiples of this number.
    Stride(usize),
    /// Past tokens among the first so many.
    FirstFew(usize),
    /// Past tokens among the first `sinks` and the last `last`.
    Sinks { sinks: usize, last: usize },
    /// Past tokens but for the first; the first query sees itself.
    NotFirst,
    /// Past tokens but for the one at this distance.
    NotAt(usize),
    /// Past tokens without the token itself; the first query sees itself.
    BeforeOrFirst,
}

impl Sees {
    /// Whether the query at this place sees the key in slot `key` of its batch row; `mask` is the right mask.
    pub fn sees(self, pass: &Pass, mask: Mask, (batch, own): Place, key: usize) -> bool {
        let real = |batch| matches!(pass.slot((batch, key)), Some(Slot::Real(_) | Slot::Cached));
        match self {
            Self::All { pads } => pads || real(batch),
            Self::Future { own: too } => real(batch) && (key > own || (too && key == own)),
            Self::FromZero { start } => real(batch) && own >= start && mask.allows(own - start, key),
            Self::AsRow0 => real(0) && mask.allows(own, key),
            Self::Before => real(batch) && key < own && mask.allows(own, key),
            Self::Last(n) => real(batch) && key <= own && own - key < n,
            Self::Pads { .. } => mask.allows(own, key),
            Self::Ahead(more) => real(batch) && key <= own + more,
            Self::Within(n) => real(batch) && key.abs_diff(own) < n,
            Self::Chunk(n) => real(batch) && key <= own && key / n == own / n,
            Self::Prefix(n) => real(batch) && (key <= own || key < n),
            Self::Stride(n) => real(batch) && key <= own && (own - key).is_multiple_of(n),
            Self::FirstFew(n) => real(batch) && key <= own && key < n,
            Self::Sinks { sinks, last } => real(batch) && key <= own && (key < sinks || own - key < last),
            Self::NotFirst => real(batch) && key <= own && (key > 0 || own == 0),
            Self::NotAt(n) => real(batch) && key <= own && own - key != n,
            Self::BeforeOrFirst => real(batch) && (key < own || (own == 0 && key == 0)),
        }
    }
}

/// The number that masked scores are, in the place of −inf.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::diagnose) enum MaskValue {
    /// This number.
    Is(f64),
    /// The score itself plus this number.
    Adds(f64),
}

/// Which masked scores enter the softmax as 0 instead of −inf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::diagnose) enum Leaks {
    /// Those of padded keys.
    Pads,
    /// Those of padded keys among the last so many, the query's own included.
    PadsWithin(usize),
    /// All masked scores.
    All,
}

/// How a kernel that ignores strides reads memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::diagnose) enum Misread {
    /// `[seq, heads, head_dim]` as `[heads, seq, head_dim]`.
    Heads,
    /// A cache with `length` slots per head, zero where nothing was written, as if it had only as many slots
    /// as are filled.
    Buffer { length: usize },
}

impl Misread {
    /// Keys or values of one sequence as the kernel reads them: `[seq, heads * head_dim]` → the same shape.
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

/// A number that is added to each visible score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::diagnose) enum ScoreTerm {
    /// ALiBi's slope of the head times the distance, subtracted, or added if `negated` (Press et al., 2022).
    Alibi { negated: bool },
    /// This number times the distance from key to query.
    Distance(f64),
    /// This number.
    Constant(f64),
    /// This number, for the first key only.
    FirstKey(f64),
}

impl ScoreTerm {
    /// The term of one head's score, for a key so many slots before the query.
    pub fn of(self, head: usize, heads: usize, distance: f64, key: usize) -> f64 {
        match self {
            Self::Alibi { negated: false } => -slope(head, heads) * distance,
            Self::Alibi { negated: true } => slope(head, heads) * distance,
            Self::Distance(by) => by * distance,
            Self::Constant(more) => more,
            Self::FirstKey(more) => more * f64::from(u8::from(key == 0)),
        }
    }
}

/// ALiBi's slope of a head: 2^(−8 (h + 1) / n) for a power of two of heads; further heads take every second slope
/// of twice as many.
fn slope(head: usize, heads: usize) -> f64 {
    let power = 1usize << heads.max(1).ilog2();
    if head < power {
        2f64.powf(-8.0 * (head + 1) as f64 / power as f64)
    } else {
        2f64.powf(-4.0 * (2 * (head - power) + 1) as f64 / power as f64)
    }
}
