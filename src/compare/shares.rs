//! The share of its budget that each row and head of a comparison used.

use serde::{Deserialize, Serialize};

use crate::files::floats32;

/// Error / budget by row and by head.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Shares {
    /// Number of heads, as a separate axis or merged into the last one; 1 if there are none.
    pub heads: usize,
    /// Batch row and position of each compared row, in the order in which they were compared.
    pub places: Vec<(usize, usize)>,
    /// The largest error / budget of each row, over maximum and root mean square, `[rows]`.
    #[serde(with = "floats32")]
    pub of_row: Vec<f32>,
    /// The largest error / budget of an element, `[rows, heads]`.
    #[serde(with = "floats32")]
    pub of_head: Vec<f32>,
}

impl Shares {
    pub(super) fn see(&mut self, place: (usize, usize), by_head: &[f64], rms: f64) {
        self.places.push(place);
        self.of_row.push(by_head.iter().copied().fold(rms, f64::max) as f32);
        self.of_head.extend(by_head.iter().map(|&share| share as f32));
    }

    /// The share of `head` in row `r`.
    pub fn at(&self, r: usize, head: usize) -> f32 {
        self.of_head[r * self.heads + head]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_found_by_its_row_and_head() {
        let mut shares = Shares { heads: 3, ..Shares::default() };
        shares.see((0, 4), &[0.25, 0.5, 0.75], 0.0);
        shares.see((1, 4), &[2.0, 4.0, 8.0], 16.0);
        let of = |r| [0, 1, 2].map(|head| shares.at(r, head));
        assert_eq!((of(0), of(1)), ([0.25, 0.5, 0.75], [2.0, 4.0, 8.0]));
        assert_eq!(shares.of_row, [0.75, 16.0]);
    }
}
