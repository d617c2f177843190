//! What stands at a site of a recorded pass: recorded, or computed since what was.

use std::collections::BTreeSet;

use super::operation::Placed;
use crate::oracle::Rows;
use crate::probe::Site;

/// What stands at a site: recorded, or computed since what was.
pub(super) struct Value {
    pub placed: Placed,
    /// The same in each order of summation; none where it was recorded.
    pub runs: Vec<Placed>,
    /// The operations since what was recorded.
    pub since: BTreeSet<Site>,
}

impl Placed {
    /// The rows that stand at `places`, as far as it has them.
    pub(super) fn only(&self, places: &[(usize, usize)]) -> Self {
        let kept: Vec<usize> = (0..self.places.len()).filter(|&r| places.contains(&self.places[r])).collect();
        Self {
            rows: Rows::new(self.rows.width, kept.iter().flat_map(|&r| self.rows.row(r).to_vec()).collect()),
            places: kept.iter().map(|&r| self.places[r]).collect(),
        }
    }
}
