//! The slots of a batch: tokens, cached tokens and padding.

use crate::graph::Mask;
use crate::{Error, Result};

/// A batch row and a slot; slots are counted in the padded sequence.
pub type Place = (usize, usize);

/// A token and its RoPE position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its token id.
    pub id: u32,
    /// Its position for RoPE.
    pub position: usize,
}

/// The content of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// A token of this pass: every tensor has a row for it, and later tokens attend to it.
    Real(Token),
    /// A token of an earlier pass: it has no row, but its keys and values are in the cache.
    Cached,
    /// Padding with a known token: every tensor has a row for it, and no token attends to it.
    Padding(Token),
    /// Padding with unknown content: it has no row, and no token attends to it.
    Unknown,
}

/// The slots of a batch; all batch rows have the same length.
#[derive(Clone, Debug, PartialEq)]
pub struct Pass {
    slots: Vec<Vec<Slot>>,
    length: usize,
}

impl Pass {
    /// Creates a pass from its slots, `[batch][length]`.
    ///
    /// # Errors
    /// There are no slots, or the batch rows have different lengths.
    pub fn new(slots: Vec<Vec<Slot>>) -> Result<Self> {
        let length = slots.first().map_or(0, Vec::len);
        if length == 0 || slots.iter().any(|row| row.len() != length) {
            let hint = "pad all rows of the batch to the same length, at least 1";
            return Err(Error::input("the rows of the batch are empty or have different lengths", hint));
        }
        Ok(Self { slots, length })
    }

    /// The number of slots of the padded sequence.
    pub const fn length(&self) -> usize {
        self.length
    }

    /// The slot at a place; `None` outside the batch.
    pub fn slot(&self, (batch, slot): Place) -> Option<Slot> {
        self.slots.get(batch)?.get(slot).copied()
    }

    /// The token at a place, if the place has a row.
    pub fn token(&self, place: Place) -> Option<Token> {
        match self.slot(place)? {
            Slot::Real(token) | Slot::Padding(token) => Some(token),
            Slot::Cached | Slot::Unknown => None,
        }
    }

    /// All places that have a row, in ascending order.
    pub fn places(&self) -> Vec<Place> {
        let all = (0..self.slots.len()).flat_map(|b| (0..self.length).map(move |slot| (b, slot)));
        all.filter(|&place| self.token(place).is_some()).collect()
    }

    /// May the query at this place attend to the key in slot `key` of its batch row?
    pub fn sees(&self, mask: Mask, (batch, query): Place, key: usize) -> bool {
        let filled = match self.slot((batch, key)) {
            Some(Slot::Real(_) | Slot::Cached) => true,
            Some(Slot::Padding(_) | Slot::Unknown) | None => false,
        };
        filled && mask.allows(query, key)
    }
}
