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

/// The number of tokens of a prompt that go through the model together. Their tensors fit into the processor's cache, and
/// the scores of attention do not grow with the square of the prompt's length.
const AT_ONCE: usize = 128;

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
        // What the model refuses is fed at once, so that nothing of it remains in the cache.
        let fits = ids.len() <= cache.room() && ids.iter().all(|&id| (id as usize) < llama.config.vocab_size);
        let at_once = if fits { AT_ONCE } else { ids.len() };
        // Operations are divided among the threads of rayon's pool. If the caller is one of them, it does not fall asleep
        // at each of some 500 operations.
        rayon::scope(|_| {
            let (last, before) = match ids.chunks(at_once.max(1)).next_back() {
                Some(last) => (last, &ids[..ids.len() - last.len()]),
                None => (ids, ids),
            };
            for part in before.chunks(at_once.max(1)) {
                llama.hidden(&Input::single(part, cache.len()), cache, &mut ())?;
            }
            let hidden = llama.hidden(&Input::single(last, cache.len()), cache, &mut ())?; // [1, s, hidden]
            let last = hidden.narrow(1, last.len() - 1, 1)?; // [1, 1, hidden]
            let logits = llama.logits(&last, &mut ())?; // [1, 1, vocab]
            Ok(logits.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?)
        })
    }

    fn room(&self) -> usize {
        self.cache.room()
    }
}
