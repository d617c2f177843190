//! Which keys the queries of an attention see.

use super::pass::{Pass, Place};
use super::placed::Placed;
use super::slots::Slots;
use crate::graph::Mask;

/// The rows of a tensor, and where each stands.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// The pass that they are rows of.
    pub pass: &'a Pass,
    /// The place of each.
    pub places: &'a [Place],
}

impl Standing<'_> {
    /// The position that row `r` is rotated by; 0 for a row that the pass does not have.
    pub fn position(&self, r: usize) -> usize {
        let token = self.places.get(r).and_then(|&place| self.pass.token(place));
        token.map_or(0, |token| token.position)
    }
}

/// Queries, and the keys or values that they look at.
#[derive(Clone, Debug)]
pub struct Sight<'a> {
    /// The pass that both are rows of.
    pub pass: &'a Pass,
    /// Where each query stands.
    pub queries: &'a [Place],
    /// The row of the keys, or values, in each slot of each batch row.
    pub keys: &'a Slots,
}

impl<'a> Sight<'a> {
    pub(super) const fn new(pass: &'a Pass, queries: &'a [Place], keys: &'a Slots) -> Self {
        Self { pass, queries, keys }
    }

    /// The batch row of each query.
    pub fn batch(&self) -> Vec<usize> {
        self.queries.iter().map(|&(batch, _)| batch).collect()
    }

    /// Does query `query` see the key in this slot?
    pub fn sees(&self, mask: Mask, query: usize, slot: usize) -> bool {
        self.queries.get(query).is_some_and(|&place| self.pass.sees(mask, place, slot))
    }
}

/// The row of `keys` in each slot.
pub(super) fn slots(pass: &Pass, keys: &Placed) -> Slots {
    Slots::new(keys.places(), pass.length())
}

/// The queries at `places` all of whose keys are known in each of `keys`.
pub(super) fn complete(pass: &Pass, mask: Mask, places: &[Place], keys: &[&Slots]) -> Vec<Place> {
    let known = |batch: usize, slot: usize| keys.iter().all(|keys| keys.at(batch, slot).is_some());
    let sees_known =
        |&place: &Place| (0..pass.length()).all(|slot| known(place.0, slot) || !pass.sees(mask, place, slot));
    places.iter().copied().filter(sees_known).collect()
}
