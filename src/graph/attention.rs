//! The parameters of attention (Vaswani et al., 2017; Ainslie et al., 2023).

use std::ops::Deref;

/// The key and value head that each query head looks at, `[heads]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadMap(Vec<usize>);

impl HeadMap {
    /// Head h looks at `looks_at[h]`.
    pub fn new(looks_at: Vec<usize>) -> Self {
        Self(looks_at)
    }

    /// Llama's: the query heads of a group stand side by side. Empty without key heads, or with more of them
    /// than query heads; [`Builder::finish`](super::Builder::finish) refuses an empty map.
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
    /// Which key head each query head looks at.
    pub heads: HeadMap,
    /// Entries of a head.
    pub head_dim: usize,
    /// What products of queries and keys are multiplied with.
    pub scale: f64,
    /// c of c · tanh(x / c), before masking.
    pub softcap: Option<f64>,
    /// Which keys a query sees.
    pub mask: Mask,
}

/// Which keys a query sees. Padding is never seen, whatever the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// Its own and all earlier ones.
    Causal,
    /// Its own and the `window − 1` before it.
    Window {
        /// Keys that are seen at most, the query's own included.
        window: usize,
    },
}

impl Mask {
    /// Does the query in slot `query` see the key in slot `key` of the same batch row?
    pub const fn allows(self, query: usize, key: usize) -> bool {
        match self {
            Self::Causal => key <= query,
            Self::Window { window } => key <= query && query - key < window,
        }
    }
}

/// Σ probs · v over the keys, heads side by side.
#[derive(Clone, Debug, PartialEq)]
pub struct Context {
    /// Which value head each query head looks at.
    pub heads: HeadMap,
    /// Entries of a head.
    pub head_dim: usize,
}
