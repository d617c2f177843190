//! The tokens of a case.

use crate::oracle::{Pass, Slot, Token};
use crate::reference::{Place, Reference};
use crate::{Error, Result};

/// Token ids as a rectangle, and which of them are padding.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// `[batch, s]`.
    pub ids: Vec<Vec<u32>>,
    /// The position that each token is rotated by, `[batch, s]`.
    pub positions: Vec<Vec<usize>>,
    /// The places that are not padding, in ascending order.
    pub places: Vec<Place>,
    /// `left` or `right`, if rows are padded.
    pub padding: Option<String>,
}

impl Tokens {
    /// One prompt.
    ///
    /// # Errors
    /// It has no tokens.
    pub fn prompt(ids: &[u32]) -> Result<Self> {
        if ids.is_empty() {
            return Err(Error::input("the prompt has no tokens", "give a prompt with some text"));
        }
        Ok(Self {
            ids: vec![ids.to_vec()],
            positions: vec![(0..ids.len()).collect()],
            places: (0..ids.len()).map(|slot| (0, slot)).collect(),
            padding: None,
        })
    }

    /// The tokens of a stored case.
    pub fn of(case: &Reference) -> Self {
        Self {
            ids: case.manifest.ids.clone(),
            positions: case.manifest.position_ids.clone(),
            places: case.places().to_vec(),
            padding: case.manifest.padding.clone(),
        }
    }

    /// The number of tokens in each batch row, without padding.
    pub(super) fn lengths(&self) -> Vec<usize> {
        let of_row = |batch: usize| self.places.iter().filter(|place| place.0 == batch).count();
        (0..self.ids.len()).map(of_row).collect()
    }

    /// The pass over these tokens. Padding is unknown: nothing may depend on it.
    pub(super) fn pass(&self) -> Result<Pass> {
        let slot = |b: usize, s: usize| match self.places.binary_search(&(b, s)) {
            Ok(_) => Slot::Real(Token { id: self.ids[b][s], position: self.positions[b][s] }),
            Err(_) => Slot::Unknown,
        };
        Pass::new((0..self.ids.len()).map(|b| (0..self.ids[b].len()).map(|s| slot(b, s)).collect()).collect())
    }
}
