//! The rounding errors of an operation, measured on some of its rows and extended to all of them.

use std::collections::BTreeMap;

use crate::compare::{Noise, Scale};
use crate::oracle::Placed;
use crate::reference::Place;

/// The rounding error of a correct port at each place.
pub(super) type NoiseByPlace = BTreeMap<Place, Noise>;

/// No error at all.
const NONE: Noise = Noise { max: 0.0, rms: 0.0 };

/// Measured rounding errors: for each row, the largest of all runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured(Vec<(Place, Noise)>);

impl Measured {
    /// Compares the rows of each run with the exact ones.
    pub fn of(exact: &Placed, runs: &[Placed]) -> Self {
        let errors = |(&place, row): (&Place, &[f64])| {
            let of_runs = runs.iter().filter_map(|run| run.at(place)).map(|run| error(row, run));
            (place, of_runs.fold(NONE, Noise::or_larger))
        };
        Self(exact.places().iter().zip(exact.rows().iter()).map(errors).collect())
    }

    /// Were no rows measured?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds rows that were measured later. Returns whether one of them has a larger error than all earlier
    /// rows.
    pub fn extend(&mut self, rows: Self) -> bool {
        let (before, added) = (self.most(), rows.most());
        self.0.extend(rows.0);
        added.max > before.max || added.rms > before.rms
    }

    /// The noise at each of `places`: the largest error of all measured rows, because the measurement of a
    /// single row is not reliable.
    pub fn noise(&self, places: &[Place]) -> NoiseByPlace {
        let most = self.most();
        places.iter().map(|&place| (place, most)).collect()
    }

    /// The noise at each of `places` for errors that grow with the position, like those of rotated rows: the
    /// largest error of the measured rows up to that position. A place before all measured ones gets the
    /// noise of the first.
    pub fn noise_up_to(&self, places: &[Place], position: impl Fn(Place) -> Option<usize>) -> NoiseByPlace {
        let mut rows: Vec<(Option<usize>, Noise)> =
            self.0.iter().map(|&(place, noise)| (position(place), noise)).collect();
        rows.sort_by_key(|&(position, _)| position);
        let mut most = NONE;
        for (_, noise) in &mut rows {
            most = most.or_larger(*noise);
            *noise = most;
        }
        let noise = |place: Place| {
            let up_to = rows.partition_point(|(measured, _)| *measured <= position(place));
            rows.get(up_to.saturating_sub(1)).map_or(NONE, |&(_, noise)| noise)
        };
        places.iter().map(|&place| (place, noise(place))).collect()
    }

    fn most(&self) -> Noise {
        self.0.iter().fold(NONE, |most, (_, noise)| most.or_larger(*noise))
    }
}

/// The error of a row relative to the scale of the exact one.
fn error(exact: &[f64], row: &[f64]) -> Noise {
    let scale = Scale::of(exact.iter().copied());
    let apart = Scale::of(exact.iter().zip(row).map(|(a, b)| a - b));
    let share = |error: f64, scale: f64| if error == 0.0 { 0.0 } else { error / scale };
    Noise { max: share(apart.max, scale.max), rms: share(apart.rms, scale.rms) }
}
