//! Parameters of attention (Vaswani et al., 2017; Ainslie et al., 2023).

use std::ops::Deref;

/// The key and value head that each query head uses, `[heads]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadMap(Vec<usize>);

impl HeadMap {
    /// Query head h uses `looks_at[h]`.
    pub fn new(looks_at: Vec<usize>) -> Self {
        Self(looks_at)
    }

    /// Llama's map: the query heads of a group are consecutive. It is empty if there are no key heads, or
    /// more of them than query heads; [`Builder::finish`](super::Builder::finish) refuses an empty map.
    pub fn grouped(heads: usize, kv_heads: usize) -> Self {
        let group = heads.checked_div(kv_heads).unwrap_or(0);
        Self(if group == 0 { Vec::new() } else { (0..heads).map(|h| h / group).collect() })
    }
}

impl Deref for HeadMap {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.0
    }
}

/// softcap(q · k · scale) where the mask allows it, −inf elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// Which key head each query head uses.
    pub heads: HeadMap,
    /// Number of entries in a head.
    pub head_dim: usize,
    /// The factor of the products of queries and keys.
    pub scale: f64,
    /// The c of c · tanh(x / c), applied before masking.
    pub softcap: Option<f64>,
    /// Which keys a query sees.
    pub mask: Mask,
}

/// Which keys a query sees. No rule shows padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// Its own key and all earlier ones.
    Causal,
    /// Its own key and the `window − 1` before it.
    Window {
        /// The largest number of visible keys, including the query's own.
        window: usize,
    },
}

impl Mask {
    /// Whether the query in slot `query` sees the key in slot `key` of the same batch row.
    pub const fn allows(self, query: usize, key: usize) -> bool {
        match self {
            Self::Causal => key <= query,
            Self::Window { window } => key <= query && query - key < window,
        }
    }
}

/// Σ probs · v over the keys, with the heads concatenated.
#[derive(Clone, Debug, PartialEq)]
pub struct Context {
    /// Which value head each query head uses.
    pub heads: HeadMap,
    /// Number of entries in a head.
    pub head_dim: usize,
}
