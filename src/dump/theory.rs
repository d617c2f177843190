//! What an operation should have given, and by how much honest arithmetic misses that on the same inputs.

use super::operation::{Machine, Placed};
use super::value::Value;
use crate::compare::{Noise, Scale};
use crate::probe::Kind;

/// What the oracle makes of a site's inputs.
pub(super) struct Theory {
    pub placed: Placed,
    /// What honest arithmetic errs by, one a row.
    pub noise: Vec<Noise>,
}

impl Theory {
    /// With the noise that the runs show: the largest of all rows, as no row alone is measured well; for
    /// rotated rows the largest up to their position, with which it grows.
    pub(super) fn of(kind: Kind, value: &Value, machine: &Machine<'_>) -> Self {
        let places = &value.placed.places;
        let measured: Vec<Noise> = (0..places.len())
            .map(|r| {
                let truth = value.placed.rows.row(r);
                value.runs.iter().map(|run| error(truth, run.rows.row(r))).fold(NONE, Noise::or_larger)
            })
            .collect();
        let rotated = matches!(kind, Kind::QRope | Kind::KRope);
        let positions = machine.tokens.at(places).positions;
        let most = |r: usize| {
            let counts = |&other: &usize| !rotated || positions[other] <= positions[r];
            (0..places.len()).filter(counts).map(|other| measured[other]).fold(NONE, Noise::or_larger)
        };
        let noise = if rotated { (0..places.len()).map(most).collect() } else { vec![most(0); places.len()] };
        Self { placed: value.placed.clone(), noise }
    }
}

const NONE: Noise = Noise { max: 0.0, rms: 0.0 };

/// How far a row is from truth, as a share of its scale.
fn error(truth: &[f64], row: &[f64]) -> Noise {
    let scale = Scale::of(truth.iter().copied());
    let apart = Scale::of(truth.iter().zip(row).map(|(a, b)| a - b));
    let share = |error: f64, scale: f64| if error == 0.0 { 0.0 } else { error / scale };
    Noise { max: share(apart.max, scale.max), rms: share(apart.rms, scale.rms) }
}
