//! Rows of a tensor, each with its place in the batch.

use std::borrow::Cow;

use super::pass::Place;
use super::rows::Rows;
use crate::{Error, Result};

/// Rows at some places of a batch, `[places, width]`. At all other places the tensor is unknown.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    rows: Rows,
    places: Vec<Place>,
}

impl Placed {
    /// Puts row r of `rows` at `places[r]`.
    ///
    /// # Errors
    /// The number of rows is not the number of places, the rows have no entries, or the places are not in
    /// ascending order.
    pub fn new(rows: Rows, places: Vec<Place>) -> Result<Self> {
        let whole = rows.width > 0 && rows.values.len() == places.len().saturating_mul(rows.width);
        if !whole || places.windows(2).any(|pair| pair[0] >= pair[1]) {
            let what =
                format!("{} values do not make one row of {} per place", rows.values.len(), rows.width);
            return Err(Error::input(what, "give one row per place, ordered by batch row and then by slot"));
        }
        Ok(Self { rows, places })
    }

    /// The rows, `[places, width]`.
    pub const fn rows(&self) -> &Rows {
        &self.rows
    }

    /// The places of the rows, in ascending order.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// The row at a place; `None` if it is unknown.
    pub fn at(&self, place: Place) -> Option<&[f64]> {
        self.places.binary_search(&place).ok().map(|r| self.rows.row(r))
    }

    /// The rows at `places`; `None` if any of them is unknown.
    pub fn kept(&self, places: &[Place]) -> Option<Self> {
        let rows = self.only(places);
        let whole = rows.len() == places.len();
        whole.then(|| Self { rows: rows.into_owned(), places: places.to_vec() })
    }

    /// The rows at `places`, `[places, width]`. Unknown rows are left out.
    pub(super) fn only(&self, places: &[Place]) -> Cow<'_, Rows> {
        if places == self.places {
            return Cow::Borrowed(&self.rows);
        }
        let known = places.iter().filter_map(|&place| self.at(place));
        Cow::Owned(Rows { width: self.rows.width, values: known.flatten().copied().collect() })
    }

    /// Merges these rows with those of `other`, which must have the same width and other places.
    ///
    /// # Errors
    /// Two rows have the same place, or the widths differ.
    pub fn and(&self, other: &Self) -> Result<Self> {
        let mut all: Vec<(Place, &[f64])> = Vec::with_capacity(self.places.len() + other.places.len());
        for part in [self, other] {
            all.extend(part.places.iter().copied().zip(part.rows.iter()));
        }
        all.sort_by_key(|&(place, _)| place);
        let values = all.iter().flat_map(|(_, row)| row.iter().copied()).collect();
        Self::new(Rows { width: self.rows.width, values }, all.iter().map(|&(place, _)| place).collect())
    }
}
