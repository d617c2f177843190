//! Rows of a tensor, and where in the batch each stands.

use std::borrow::Cow;

use super::pass::Place;
use super::rows::Rows;
use crate::{Error, Result};

/// Rows at some places of a batch, `[places, width]`. At all other places the tensor is not known.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    rows: Rows,
    places: Vec<Place>,
}

impl Placed {
    /// Row r of `rows` stands at `places[r]`.
    ///
    /// # Errors
    /// Rows that are not one a place, without entries, or places that do not ascend.
    pub fn new(rows: Rows, places: Vec<Place>) -> Result<Self> {
        let whole = rows.width > 0 && rows.values.len() == places.len().saturating_mul(rows.width);
        if !whole || places.windows(2).any(|pair| pair[0] >= pair[1]) {
            let what = format!("{} values are not a row of {} at each place", rows.values.len(), rows.width);
            return Err(Error::input(what, "give one row a place, in the order of batch row and slot"));
        }
        Ok(Self { rows, places })
    }

    /// The rows, `[places, width]`.
    pub const fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Where they stand, in order.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// The row at a place, if it is known.
    pub fn at(&self, place: Place) -> Option<&[f64]> {
        self.places.binary_search(&place).ok().map(|r| self.rows.row(r))
    }

    /// Its rows at `places`; none where one of them is not known.
    pub fn kept(&self, places: &[Place]) -> Option<Self> {
        let rows = self.only(places);
        let whole = rows.len() == places.len();
        whole.then(|| Self { rows: rows.into_owned(), places: places.to_vec() })
    }

    /// The rows at `places`, `[places, width]`; those that are not known are left out.
    pub(super) fn only(&self, places: &[Place]) -> Cow<'_, Rows> {
        if places == self.places {
            return Cow::Borrowed(&self.rows);
        }
        let known = places.iter().filter_map(|&place| self.at(place));
        Cow::Owned(Rows { width: self.rows.width, values: known.flatten().copied().collect() })
    }

    /// These rows and those of `other`, which are as wide and stand elsewhere.
    ///
    /// # Errors
    /// Two rows at one place, or rows of another width.
    pub(super) fn and(&self, other: &Self) -> Result<Self> {
        let mut all: Vec<(Place, &[f64])> = Vec::with_capacity(self.places.len() + other.places.len());
        for part in [self, other] {
            all.extend(part.places.iter().copied().zip(part.rows.iter()));
        }
        all.sort_by_key(|&(place, _)| place);
        let values = all.iter().flat_map(|(_, row)| row.iter().copied()).collect();
        Self::new(Rows { width: self.rows.width, values }, all.iter().map(|&(place, _)| place).collect())
    }
}
