//! The value of a node of a recorded pass: either recorded, or computed from recorded values.

use crate::Result;
use crate::oracle::{Placed, Rows};
use crate::recording::SiteTensor;
use crate::reference::Place;

/// The value of a node.
pub(super) enum Value {
    /// The tensor that was recorded at the node.
    Recorded(SiteTensor),
    /// Values that were computed from recorded ones.
    Computed {
        exact: Placed,
        /// The result of each run of rounded arithmetic.
        runs: Vec<Placed>,
    },
}

/// The computation that reads a value: exact arithmetic, or one run of rounded arithmetic. Recorded values
/// are the same for all readers.
#[derive(Clone, Copy)]
pub(super) enum Reader {
    Exact,
    Run(usize),
}

impl Value {
    /// Those rows at `places` that the value has.
    ///
    /// # Errors
    /// The rows of a recorded tensor cannot be read.
    pub fn rows(&self, reader: Reader, places: &[Place]) -> Result<Placed> {
        let (placed, own) = match (self, reader) {
            (Self::Recorded(recorded), _) => return recorded_rows(recorded, places),
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

/// Those rows at `places` that the recorded tensor has.
pub(super) fn recorded_rows(recorded: &SiteTensor, places: &[Place]) -> Result<Placed> {
    let places: Vec<Place> = places.iter().copied().filter(|&place| recorded.holds(place)).collect();
    Placed::new(Rows { width: recorded.width(), values: recorded.rows(&places)? }, places)
}
