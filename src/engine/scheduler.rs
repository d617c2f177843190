//! Decides which tokens of which sequences go through the model in the next step, and runs it. Sequences that decode
//! come first; prompts follow in pieces, in the order in which they came.
//!
//! How a prompt is divided does not depend on other sequences: each piece has [`Scheduler::piece`] tokens, and waits if
//! a step has no room for it. So all numbers of a sequence are those that it has alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, IndexOp};

use super::kept::{Kept, reused};
use super::plan::{Part, Plan};
use crate::model::{Cache, Input, Lane, Llama};
use crate::probe::Probe;
use crate::{Error, Result};

/// Copying fewer tokens would not be faster than running them.
const WORTH: usize = 16;

/// Sequences that share a model, each with a cache of its own.
#[derive(Debug)]
pub struct Scheduler {
    /// The model.
    pub model: Arc<Llama>,
    /// The largest number of tokens of a prompt that go through the model in one step.
    pub piece: usize,
    /// The largest number of rows of a step.
    pub step_tokens: usize,
    /// Caches of sequences that ended, the oldest first.
    pub kept: Vec<Kept>,
    /// The fewest tokens for which a part of a kept cache is copied.
    pub worth: usize,
    open: BTreeMap<usize, Sequence>,
    next: usize,
}

/// A sequence that has not ended.
#[derive(Debug)]
struct Sequence {
    /// All its tokens.
    ids: Vec<u32>,
    /// How many of them are in its cache.
    fed: usize,
    cache: Cache,
}

/// A sequence that was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its number, which no other sequence has.
    pub sequence: usize,
    /// How many of its tokens were in a kept cache.
    pub reused: usize,
}

/// What a step computed for a sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampled {
    /// The sequence.
    pub sequence: usize,
    /// The logits of its next token, `[vocab]`.
    pub logits: Vec<f32>,
}

impl Scheduler {
    /// A scheduler without sequences.
    pub fn new(model: Arc<Llama>, piece: usize, step_tokens: usize) -> Self {
        Self {
            model,
            piece: piece.max(1),
            step_tokens,
            kept: vec![],
            worth: WORTH,
            open: BTreeMap::new(),
            next: 0,
        }
    }

    /// Starts a sequence with these tokens.
    ///
    /// # Errors
    /// There are no tokens, one is outside the vocabulary, or they do not fit into the context.
    pub fn open(&mut self, ids: &[u32]) -> Result<Opened> {
        let empty = self.model.new_cache();
        Input::single(ids, 0).check(self.model.config.vocab_size)?;
        if ids.len() > empty.room() {
            let what = format!("{} tokens exceed the context length of {}", ids.len(), empty.room());
            return Err(Error::input(what, "shorten the prompt"));
        }
        let cache = reused(&mut self.kept, ids, self.worth)?.unwrap_or(empty);
        let (sequence, fed) = (self.next, cache.len());
        self.next += 1;
        self.open.insert(sequence, Sequence { ids: ids.to_vec(), fed, cache });
        Ok(Opened { sequence, reused: fed })
    }

    /// Appends a token to a sequence.
    ///
    /// # Errors
    /// There is no such sequence, or its context is full.
    pub fn push(&mut self, sequence: usize, id: u32) -> Result<()> {
        let context = self.model.config.max_position_embeddings;
        match self.open.get_mut(&sequence) {
            Some(sequence) if sequence.ids.len() < context => sequence.ids.push(id),
            Some(_) => {
                let what = format!("the context of {context} tokens is full");
                return Err(Error::input(what, "end the sequence"));
            }
            None => return Err(no_sequence(sequence)),
        }
        Ok(())
    }

    /// How many more tokens fit into a sequence's context.
    pub fn room(&self, sequence: usize) -> usize {
        let context = self.model.config.max_position_embeddings;
        self.open.get(&sequence).map_or(0, |sequence| context - sequence.ids.len())
    }

    /// Ends a sequence, and returns its cache with the tokens in it; `None` if there is no such sequence, or if nothing
    /// is in its cache.
    pub fn close(&mut self, sequence: usize) -> Option<Kept> {
        let Sequence { mut ids, fed, cache } = self.open.remove(&sequence)?;
        ids.truncate(fed);
        (fed > 0 && cache.len() == fed).then_some(Kept { ids, cache })
    }

    /// The next step; without parts if no sequence has a token to feed.
    pub fn plan(&self) -> Plan {
        let waiting = |(_, sequence): &(&usize, &Sequence)| sequence.fed < sequence.ids.len();
        let single = |(_, sequence): &(&usize, &Sequence)| sequence.fed + 1 == sequence.ids.len();
        let (decoding, prompts): (Vec<_>, Vec<_>) = self.open.iter().filter(waiting).partition(single);
        let mut plan = Plan::default();
        for (&number, Sequence { ids, fed, .. }) in decoding.into_iter().chain(prompts) {
            let (len, first_row) = (self.piece.min(ids.len() - fed), plan.rows());
            if first_row > 0 && first_row + len > self.step_tokens {
                break; // Prompts keep their order.
            }
            let end = fed + len;
            plan.parts.push(Part {
                sequence: number,
                cache: number,
                input: Input::single(&ids[*fed..end], *fed),
                sampled: (end == ids.len()).then_some(first_row + len - 1),
            });
        }
        plan
    }

    /// Runs a step, and returns the logits of each sequence whose tokens are all fed. The probe receives the sites of
    /// all rows, see [`Llama::packed`].
    ///
    /// # Errors
    /// A tensor operation or the probe fails; a part belongs to no sequence. Close the sequences of the plan then.
    pub fn run<P: Probe>(&mut self, plan: &Plan, probe: &mut P) -> Result<Vec<Sampled>> {
        let mut caches = Vec::with_capacity(plan.parts.len());
        for part in &plan.parts {
            let sequence = self.open.get_mut(&part.cache).ok_or_else(|| no_sequence(part.cache))?;
            caches.push(std::mem::replace(&mut sequence.cache, Cache::new(&self.model.config)));
        }
        let lanes = plan.parts.iter().zip(&mut caches);
        let mut lanes: Vec<_> = lanes.map(|(part, cache)| Lane { input: &part.input, cache }).collect();
        let hidden = self.model.packed(&mut lanes, probe);
        for (part, cache) in plan.parts.iter().zip(caches) {
            if let Some(sequence) = self.open.get_mut(&part.cache) {
                sequence.cache = cache;
            }
        }
        let hidden = hidden?; // [1, rows, hidden]
        for part in &plan.parts {
            let sequence = self.open.get_mut(&part.sequence).ok_or_else(|| no_sequence(part.sequence))?;
            sequence.fed += part.input.len();
        }
        let sampled = plan.parts.iter().filter_map(|part| Some((part.sequence, part.sampled? as u32)));
        let (sequences, rows): (Vec<usize>, Vec<u32>) = sampled.unzip();
        if rows.is_empty() {
            return Ok(vec![]);
        }
        let logits = self.model.logits_of(&hidden, &rows, probe)?.to_dtype(DType::F32)?; // [1, sampled, vocab]
        let of = |(n, sequence)| Ok(Sampled { sequence, logits: logits.i((0, n))?.to_vec1()? });
        sequences.into_iter().enumerate().map(of).collect()
    }
}

fn no_sequence(sequence: usize) -> Error {
    Error::internal(format!("there is no sequence {sequence}"))
}
