//! What generation needs of a model, and the project's own Llama as such.
//!
//! Stands on [`Llama::hidden`] and [`Llama::logits`]: logits are made for the last position only.

use candle_core::DType;

use crate::Result;
use crate::model::{Cache, Input, Llama};

/// A sequence under way: it can be continued, and says what may follow.
pub trait Decoder {
    /// Appends `ids` to the sequence; the logits of the token after them, `[vocab]`.
    ///
    /// # Errors
    /// When there are no ids, one is outside the vocabulary, or the context is too short for them.
    fn feed(&mut self, ids: &[u32]) -> Result<Vec<f32>>;

    /// How many more ids the context can hold.
    fn room(&self) -> usize;
}

/// A Llama and the cache of one sequence. Positions go on from what the cache holds.
#[derive(Debug)]
pub struct OnCache<'a> {
    llama: &'a Llama,
    cache: Cache,
}

impl<'a> OnCache<'a> {
    /// A new sequence.
    pub fn new(llama: &'a Llama) -> Self {
        Self { cache: llama.new_cache(), llama }
    }
}

impl Decoder for OnCache<'_> {
    fn feed(&mut self, ids: &[u32]) -> Result<Vec<f32>> {
        let input = Input::single(ids, self.cache.len());
        let hidden = self.llama.hidden(&input, &mut self.cache, &mut ())?; // [1, s, hidden]
        let last = hidden.narrow(1, input.len() - 1, 1)?; // [1, 1, hidden]
        let logits = self.llama.logits(&last, &mut ())?; // [1, 1, vocab]
        Ok(logits.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?)
    }

    fn room(&self) -> usize {
        self.cache.room()
    }
}
