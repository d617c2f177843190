//! Which keys are visible to the queries of attention.

use super::pass::{Pass, Place};
use super::placed::Placed;
use super::slots::Slots;
use crate::graph::Mask;

/// The places of a tensor's rows in a pass.
#[derive(Clone, Copy, Debug)]
pub struct RowPlaces<'a> {
    /// The pass that the rows belong to.
    pub pass: &'a Pass,
    /// The place of each row.
    pub places: &'a [Place],
}

impl RowPlaces<'_> {
    /// The RoPE position of row `r`; 0 for a row that the pass does not have.
    pub fn position(&self, r: usize) -> usize {
        let token = self.places.get(r).and_then(|&place| self.pass.token(place));
        token.map_or(0, |token| token.position)
    }
}

/// Queries, and the keys or values that they attend to.
#[derive(Clone, Debug)]
pub struct Sight<'a> {
    /// The pass that both belong to.
    pub pass: &'a Pass,
    /// The place of each query.
    pub queries: &'a [Place],
    /// The row of the keys, or of the values, for each slot of each batch row.
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

    /// Is the key in this slot visible to query `query`?
    pub fn sees(&self, mask: Mask, query: usize, slot: usize) -> bool {
        self.queries.get(query).is_some_and(|&place| self.pass.sees(mask, place, slot))
    }
}

/// The row of `keys` in each slot.
pub(super) fn slots(pass: &Pass, keys: &Placed) -> Slots {
    Slots::new(keys.places(), pass.length())
}

/// The places of those queries whose visible keys are all known in each of `keys`.
pub(super) fn complete(pass: &Pass, mask: Mask, places: &[Place], keys: &[&Slots]) -> Vec<Place> {
    let known = |batch: usize, slot: usize| keys.iter().all(|keys| keys.at(batch, slot).is_some());
    let sees_known =
        |&place: &Place| (0..pass.length()).all(|slot| known(place.0, slot) || !pass.sees(mask, place, slot));
    places.iter().copied().filter(sees_known).collect()
}
