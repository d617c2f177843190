//! What stands at a node of a recorded pass: recorded, or computed since what was.

use crate::Result;
use crate::oracle::{Placed, Rows};
use crate::recording::Held;
use crate::reference::Place;

/// What stands at a node.
pub(super) enum Value {
    /// What was recorded there.
    Recorded(Held),
    /// What follows from what was recorded.
    Computed {
        exact: Placed,
        /// The same as each run of rounded arithmetic has it.
        runs: Vec<Placed>,
    },
}

/// Who reads a value: the exact arithmetic, or a run of rounded arithmetic. What was recorded is the same to all.
#[derive(Clone, Copy)]
pub(super) enum Reader {
    Exact,
    Run(usize),
}

impl Value {
    /// Its rows at `places`, as far as it has them.
    ///
    /// # Errors
    /// A recorded tensor without rows of its kind.
    pub fn rows(&self, reader: Reader, places: &[Place]) -> Result<Placed> {
        let (placed, own) = match (self, reader) {
            (Self::Recorded(held), _) => return recorded(held, places),
            (Self::Computed { exact, .. }, Reader::Exact) => (exact, exact.places()),
            (Self::Computed { exact, runs }, Reader::Run(n)) => {
                (runs.get(n).unwrap_or(exact), exact.places())
            }
        };
        if places == own {
            return Ok(placed.clone());
        }
        let known: Vec<(Place, &[f64])> =
            places.iter().filter_map(|&place| Some((place, placed.at(place)?))).collect();
        let values = known.iter().flat_map(|(_, row)| row.iter().copied()).collect();
        let rows = Rows { width: placed.rows().width, values };
        Placed::new(rows, known.into_iter().map(|(place, _)| place).collect())
    }
}

/// What was recorded at `places`, as far as it has them.
pub(super) fn recorded(held: &Held, places: &[Place]) -> Result<Placed> {
    let places: Vec<Place> = places.iter().copied().filter(|&place| held.holds(place)).collect();
    Placed::new(Rows { width: held.width(), values: held.rows(&places)? }, places)
}
