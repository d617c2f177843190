//! Stands on `candle_nn::kv_cache::KvCache`, which keeps one growing tensor per layer for keys and
//! one for values, so that a decode step appends without copying what is there.
//!
//! It wants contiguous `[b, kv_heads, s, head_dim]` with the slots on dim 2, and returns views that
//! are *not* contiguous. Its `max_seq_len` is a growth step and no limit, so the context length is
//! checked here. Its clones share storage, so a [`Cache`] cannot be cloned. Its `reset` keeps the
//! grown capacity, so ours makes new ones: A, B, A must be exact.

use candle_nn::kv_cache::KvCache;

use super::input::Input;
use crate::weights::Config;
use crate::{Error, Result};

/// Slots that each layer's storage grows by.
const GROWTH: usize = 256;

/// The keys and values of every token so far, and which slots hold a token at all.
#[derive(Debug)]
pub struct Cache {
    pub(super) layers: Vec<KvCache>,
    /// `[b][slot]`: a token, or padding that stays invisible for good.
    pub(super) real: Vec<Vec<bool>>,
    context: usize,
}

impl Cache {
    /// An empty cache for a model of this shape. Storage comes with the first tokens.
    pub fn new(config: &Config) -> Self {
        let context = config.max_position_embeddings;
        Self { layers: empty(config.num_hidden_layers, context), real: vec![], context }
    }

    /// Slots filled per row, padding included.
    pub fn len(&self) -> usize {
        self.real.first().map_or(0, Vec::len)
    }

    /// Nothing has been fed yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The slots that the model's context length leaves.
    pub fn room(&self) -> usize {
        self.context - self.len()
    }

    /// Forgets everything, storage included: what follows is as on a new cache, bit for bit.
    pub fn reset(&mut self) {
        self.layers = empty(self.layers.len(), self.context);
        self.real.clear();
    }

    /// Takes in which slots of `input` are real; the layers append their keys and values after.
    ///
    /// # Errors
    /// When the context length would be passed, when the batch is not the one that the cache was
    /// begun with, and when an earlier forward pass stopped half-way.
    pub(super) fn extend(&mut self, input: &Input) -> Result<()> {
        let (past, new) = (self.len(), input.len());
        if new > self.room() {
            return Err(Error::input(
                format!("{past} tokens and {new} more pass the context length of {}", self.context),
                "shorten the prompt or generate fewer tokens",
            ));
        }
        if self.layers.iter().any(|layer| layer.current_seq_len() != past) {
            return Err(Error::input(
                "the cache holds a forward pass that stopped half-way",
                "reset the cache and feed the prompt again",
            ));
        }
        if self.is_empty() {
            self.real = vec![vec![]; input.batch()];
        }
        if self.real.len() != input.batch() {
            return Err(Error::input(
                format!("the cache holds {} rows, the input {}", self.real.len(), input.batch()),
                "reset the cache before another batch",
            ));
        }
        for (slots, new) in self.real.iter_mut().zip(&input.real) {
            slots.extend(new);
        }
        Ok(())
    }
}

/// Caches without storage. A growth step of 0 would loop for ever.
fn empty(layers: usize, context: usize) -> Vec<KvCache> {
    (0..layers).map(|_| KvCache::new(2, context.clamp(1, GROWTH))).collect()
}
