//! The key and value cache, built on `candle_nn::kv_cache::KvCache`. That keeps one growing tensor per layer
//! for keys and one for values, so that a decode step appends without copying earlier tokens.
//!
//! `KvCache` requires contiguous `[b, kv_heads, s, head_dim]` with the slots in dim 2, and returns views that
//! are not contiguous. Its `max_seq_len` is a growth step, not a limit, so we check the context length here.
//! Its clones share storage, so a [`Cache`] cannot be cloned. Its `reset` keeps the grown capacity, so our
//! reset creates new caches: running prompts A, B, A must give exactly equal results for A.

use candle_nn::kv_cache::KvCache;

use super::input::Input;
use crate::weights::Config;
use crate::{Error, Result};

/// The number of slots by which each layer's storage grows.
const GROWTH: usize = 256;

/// The keys and values of every token so far, and which slots contain a token.
#[derive(Debug)]
pub struct Cache {
    pub(super) layers: Vec<KvCache>,
    /// `[b][slot]`: true for a token, false for padding, which no query ever sees.
    pub(super) real: Vec<Vec<bool>>,
    context: usize,
}

impl Cache {
    /// An empty cache for a model of this shape. Storage is allocated with the first tokens.
    pub fn new(config: &Config) -> Self {
        let context = config.max_position_embeddings;
        Self { layers: empty(config.num_hidden_layers, context), real: vec![], context }
    }

    /// The number of filled slots per row, including padding.
    pub fn len(&self) -> usize {
        self.real.first().map_or(0, Vec::len)
    }

    /// Whether nothing has been fed yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of slots left in the model's context length.
    pub fn room(&self) -> usize {
        self.context - self.len()
    }

    /// Empties the cache and frees its storage: later results are the same as with a new cache, bit for bit.
    pub fn reset(&mut self) {
        self.layers = empty(self.layers.len(), self.context);
        self.real.clear();
    }

    /// A copy of the first `len` slots, with storage of its own.
    ///
    /// # Errors
    /// It has fewer slots, or an earlier forward pass stopped half-way.
    pub fn prefix(&self, len: usize) -> Result<Self> {
        if len > self.len() {
            let what = format!("a cache of {} tokens has no first {len}", self.len());
            return Err(Error::input(what, "ask for at most as many tokens as it has"));
        }
        self.check_whole()?;
        let mut layers = empty(self.layers.len(), self.context);
        for (to, from) in layers.iter_mut().zip(&self.layers).filter(|_| len > 0) {
            if let (Some(k), Some(v)) = (from.k()?, from.v()?) {
                let first = |x: candle_core::Tensor| x.narrow(2, 0, len)?.contiguous(); // [b, kv_heads, len, head_dim]
                to.append(&first(k)?, &first(v)?)?;
            }
        }
        let real = self.real.iter().map(|slots| slots[..len].to_vec()).filter(|_| len > 0).collect();
        Ok(Self { layers, real, context: self.context })
    }

    /// Checks that the layers have all slots.
    fn check_whole(&self) -> Result<()> {
        if self.layers.iter().any(|layer| layer.current_seq_len() != self.len()) {
            return Err(Error::input(
                "an earlier forward pass stopped half-way and left the cache incomplete",
                "reset the cache and feed the prompt again",
            ));
        }
        Ok(())
    }

    /// Checks that `input` can follow.
    ///
    /// # Errors
    /// The context length would be exceeded; the batch size differs from that of the cache; an earlier
    /// forward pass stopped half-way.
    pub(super) fn check(&self, input: &Input) -> Result<()> {
        let (past, new) = (self.len(), input.len());
        if new > self.room() {
            return Err(Error::input(
                format!("{past} tokens and {new} more exceed the context length of {}", self.context),
                "shorten the prompt or generate fewer tokens",
            ));
        }
        self.check_whole()?;
        if !self.is_empty() && self.real.len() != input.batch() {
            return Err(Error::input(
                format!("the cache has {} rows, the input has {}", self.real.len(), input.batch()),
                "reset the cache before you feed another batch",
            ));
        }
        Ok(())
    }

    /// Records which slots of `input` are real; the layers then append their keys and values.
    ///
    /// # Errors
    /// Those of [`Cache::check`].
    pub(super) fn extend(&mut self, input: &Input) -> Result<()> {
        self.check(input)?;
        if self.is_empty() {
            self.real = vec![vec![]; input.batch()];
        }
        for (slots, new) in self.real.iter_mut().zip(&input.real) {
            slots.extend(new);
        }
        Ok(())
    }
}

/// Caches without storage. A growth step of 0 would loop forever.
fn empty(layers: usize, context: usize) -> Vec<KvCache> {
    (0..layers).map(|_| KvCache::new(2, context.clamp(1, GROWTH))).collect()
}
