//! What an operation should have given, and by how much honest arithmetic misses that on the same inputs.

use std::collections::BTreeMap;

use crate::compare::{Noise, Scale};
use crate::oracle::Placed;
use crate::reference::Place;

/// What honest arithmetic errs by at each place that has a row.
pub(super) type NoiseByPlace = BTreeMap<Place, Noise>;

/// What a node should be at some places.
pub(super) struct Theory {
    /// What honest arithmetic errs by.
    pub noise: NoiseByPlace,
    /// The rows, in blocks. Empty where they are too many to be kept: then they are computed once more.
    pub kept: Vec<Placed>,
}

/// No error at all.
const NONE: Noise = Noise { max: 0.0, rms: 0.0 };

/// What was measured of each row, over all runs so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured(Vec<(Place, Noise)>);

impl Measured {
    /// Of rows of which nothing was measured yet.
    pub fn of(places: &[Place]) -> Self {
        Self(places.iter().map(|&place| (place, NONE)).collect())
    }

    /// Takes in how far a run is from what is exact.
    pub fn see(&mut self, exact: &Placed, run: &Placed) {
        for (place, noise) in &mut self.0 {
            if let (Some(exact), Some(run)) = (exact.at(*place), run.at(*place)) {
                *noise = noise.or_larger(error(exact, run));
            }
        }
    }

    /// Adds rows that come behind these.
    pub fn extend(&mut self, rows: Self) {
        self.0.extend(rows.0);
    }

    /// What honest arithmetic errs by at each place: the largest of all rows, as no row alone is measured well.
    pub fn noise(&self) -> NoiseByPlace {
        let most = self.0.iter().fold(NONE, |most, (_, noise)| most.or_larger(*noise));
        self.0.iter().map(|&(place, _)| (place, most)).collect()
    }

    /// The same of rows whose errors grow with their position, as those of rotated ones do: the largest up to it.
    pub fn noise_up_to(&self, position: impl Fn(Place) -> Option<usize>) -> NoiseByPlace {
        let mut rows: Vec<(Option<usize>, Place, Noise)> =
            self.0.iter().map(|&(place, noise)| (position(place), place, noise)).collect();
        rows.sort_by_key(|&(position, ..)| position);
        let (mut noise, mut most) = (NoiseByPlace::new(), NONE);
        for same in rows.chunk_by(|a, b| a.0 == b.0) {
            most = same.iter().fold(most, |most, (.., noise)| most.or_larger(*noise));
            noise.extend(same.iter().map(|&(_, place, _)| (place, most)));
        }
        noise
    }
}

/// How far a row is from truth, as a share of its scale.
fn error(truth: &[f64], row: &[f64]) -> Noise {
    let scale = Scale::of(truth.iter().copied());
    let apart = Scale::of(truth.iter().zip(row).map(|(a, b)| a - b));
    let share = |error: f64, scale: f64| if error == 0.0 { 0.0 } else { error / scale };
    Noise { max: share(apart.max, scale.max), rms: share(apart.rms, scale.rms) }
}
