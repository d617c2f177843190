//! How far rounding alone moves the values of a node: it is recomputed from the recorded inputs in several orders of
//! summation.

use rayon::prelude::*;

use super::measured_noise::{Measured, NoiseByPlace};
use super::replay::{Replay, Way};
use super::unsaved;
use super::value::Value;
use crate::Result;
use crate::graph::NodeId;
use crate::oracle::{ORDERS, Placed};
use crate::probe::Kind;
use crate::reference::Place;

/// The number of rows on which rounding errors are measured, each in [`ORDERS`] orders of summation.
pub(super) const SAMPLED: usize = 64;

impl Replay<'_> {
    /// Measures the rounding errors of `id`. Where sums are rounded, at most [`SAMPLED`] of `places` are measured,
    /// evenly spread, because a long pass has many rows with similar errors.
    ///
    /// # Errors
    /// A weight cannot be read.
    pub fn sampled(&self, id: NodeId, way: &Way, places: &[Place]) -> Result<Measured> {
        if !self.depends_on_order(way) {
            return self.measured(id, way, places);
        }
        let measured = self.measured(id, way, &spread(places, SAMPLED))?;
        // Some rows cannot be computed, and that may include all sampled ones.
        if measured.is_empty() && places.len() > SAMPLED {
            self.measured(id, way, places)
        } else {
            Ok(measured)
        }
    }

    /// Measures the rounding errors of `id` at each of `places`.
    ///
    /// # Errors
    /// A weight cannot be read.
    pub fn measured(&self, id: NodeId, way: &Way, places: &[Place]) -> Result<Measured> {
        let orders = if self.depends_on_order(way) { ORDERS } else { 1 };
        let mut measured = Measured::default();
        for block in places.chunks(self.rows_at_once(way)) {
            let Some(exact) = self.exact(id, way, block)? else { continue };
            let runs = self.runs(orders, id, way, block)?;
            measured.extend(Measured::of(&exact, &self.as_saved(runs)?));
        }
        Ok(measured)
    }

    /// Runs with their values as they would have been saved.
    fn as_saved(&self, runs: Vec<Placed>) -> Result<Vec<Placed>> {
        let Some(saved) = self.dump.saved else { return Ok(runs) };
        runs.iter().map(|run| unsaved::after(saved, run)).collect()
    }

    /// Do different runs give different values: because of their order of summation, or because the values
    /// before saving are not known exactly?
    fn depends_on_order(&self, way: &Way) -> bool {
        let computed = |id| matches!(self.values.get(id), Some(Value::Computed { .. }));
        self.dump.saved.is_some()
            || way.compute.iter().any(|&id| self.engine.sums(id))
            || way.read.keys().any(computed)
    }

    /// The first `orders` runs of rounded arithmetic at `places`. Runs without rows there are left out.
    fn runs(&self, orders: usize, id: NodeId, way: &Way, places: &[Place]) -> Result<Vec<Placed>> {
        let runs = (0..orders).into_par_iter().map(|n| self.run(n, id, way, places));
        Ok(runs.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    /// Computes the value of `id`, which was not recorded, and its noise; `None` if no row can be computed.
    ///
    /// # Errors
    /// A weight cannot be read.
    pub fn computed(&self, id: NodeId, way: &Way) -> Result<Option<(Value, NoiseByPlace)>> {
        let Some(exact) = self.exact(id, way, &self.places)? else { return Ok(None) };
        let runs = self.runs(ORDERS, id, way, &self.places)?;
        if runs.len() < ORDERS {
            return Ok(None);
        }
        let noise = self.noise(id, &Measured::of(&exact, &runs), exact.places());
        Ok(Some((Value::Computed { exact, runs }, noise)))
    }

    /// The noise of `id` at each of `places`. The errors of rotated rows grow with their position.
    pub fn noise(&self, id: NodeId, measured: &Measured, places: &[Place]) -> NoiseByPlace {
        let rotated = self.engine.site(id).is_some_and(|s| matches!(s.kind, Kind::QRope | Kind::KRope));
        if rotated {
            measured.noise_up_to(places, |place| self.engine.position(place))
        } else {
            measured.noise(places)
        }
    }
}

/// At most `most` of `places`, evenly spread, including the first and the last.
pub(super) fn spread(places: &[Place], most: usize) -> Vec<Place> {
    let last = places.len().saturating_sub(1);
    if places.len() <= most {
        return places.to_vec();
    }
    (0..most).map(|n| places[n * last / (most - 1).max(1)]).collect()
}
