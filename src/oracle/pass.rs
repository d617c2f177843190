//! What stands in each slot of a batch.

use crate::graph::Mask;
use crate::{Error, Result};

/// A batch row, and a slot counted in the padded sequence.
pub type Place = (usize, usize);

/// A token and the position that it is rotated by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// Its position.
    pub position: usize,
}

/// What stands in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// A token of this pass: it has a row in every tensor, and later tokens see it.
    Real(Token),
    /// A token of an earlier pass: it has no row, but its keys and values are in the cache.
    Cached,
    /// Padding whose token is known: it has a row in every tensor, and no token sees it.
    Padding(Token),
    /// Padding of which nothing is known: it has no row, and no token sees it.
    Unknown,
}

/// The slots of a batch, a rectangle.
#[derive(Clone, Debug, PartialEq)]
pub struct Pass {
    slots: Vec<Vec<Slot>>,
    length: usize,
}

impl Pass {
    /// These slots, `[batch][length]`.
    ///
    /// # Errors
    /// No slots, or rows of different lengths.
    pub fn new(slots: Vec<Vec<Slot>>) -> Result<Self> {
        let length = slots.first().map_or(0, Vec::len);
        if length == 0 || slots.iter().any(|row| row.len() != length) {
            let hint = "pad the rows of a batch to one length of at least 1";
            return Err(Error::input("the rows of a batch are empty or have different lengths", hint));
        }
        Ok(Self { slots, length })
    }

    /// Slots of the padded sequence.
    pub const fn length(&self) -> usize {
        self.length
    }

    /// What stands at a place of the batch.
    pub fn slot(&self, (batch, slot): Place) -> Option<Slot> {
        self.slots.get(batch)?.get(slot).copied()
    }

    /// The token that has a row at a place.
    pub fn token(&self, place: Place) -> Option<Token> {
        match self.slot(place)? {
            Slot::Real(token) | Slot::Padding(token) => Some(token),
            Slot::Cached | Slot::Unknown => None,
        }
    }

    /// Every place that has a row, in order.
    pub fn places(&self) -> Vec<Place> {
        let all = (0..self.slots.len()).flat_map(|b| (0..self.length).map(move |slot| (b, slot)));
        all.filter(|&place| self.token(place).is_some()).collect()
    }

    /// Does the query at this place see the key in `key` of its batch row?
    pub fn sees(&self, mask: Mask, (batch, query): Place, key: usize) -> bool {
        let stands = match self.slot((batch, key)) {
            Some(Slot::Real(_) | Slot::Cached) => true,
            Some(Slot::Padding(_) | Slot::Unknown) | None => false,
        };
        stands && mask.allows(query, key)
    }
}
