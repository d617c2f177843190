//! The interface that generation needs from a model, implemented for the project's own Llama.
//!
//! Uses [`Llama::hidden`] and [`Llama::logits`], so that logits are computed for the last position only.

use candle_core::DType;

use crate::Result;
use crate::model::{Cache, Input, Llama};

/// A sequence in progress, which can be continued and gives the logits of the next token.
pub trait Decoder {
    /// Appends `ids` to the sequence, and returns the logits of the token after them, `[vocab]`.
    ///
    /// # Errors
    /// There are no ids, one is outside the vocabulary, or they do not fit into the context.
    fn feed(&mut self, ids: &[u32]) -> Result<Vec<f32>>;

    /// How many more ids fit into the context.
    fn room(&self) -> usize;
}

impl<D: Decoder + ?Sized> Decoder for &mut D {
    fn feed(&mut self, ids: &[u32]) -> Result<Vec<f32>> {
        (**self).feed(ids)
    }

    fn room(&self) -> usize {
        (**self).room()
    }
}

/// A Llama with the cache of one sequence. Positions continue after the cached tokens.
#[derive(Debug)]
pub struct OnCache<'a> {
    llama: &'a Llama,
    cache: Cache,
}

impl<'a> OnCache<'a> {
    /// Starts a new sequence.
    pub fn new(llama: &'a Llama) -> Self {
        Self { cache: llama.new_cache(), llama }
    }
}

impl Decoder for OnCache<'_> {
    fn feed(&mut self, ids: &[u32]) -> Result<Vec<f32>> {
        let (llama, cache) = (self.llama, &mut self.cache);
        // Operations are divided among the threads of rayon's pool. If the caller is one of them, it does not fall asleep
        // at each of some 500 operations.
        rayon::scope(|_| {
            let input = Input::single(ids, cache.len());
            let hidden = llama.hidden(&input, cache, &mut ())?; // [1, s, hidden]
            let last = hidden.narrow(1, input.len() - 1, 1)?; // [1, 1, hidden]
            let logits = llama.logits(&last, &mut ())?; // [1, 1, vocab]
            Ok(logits.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?)
        })
    }

    fn room(&self) -> usize {
        self.cache.room()
    }
}
