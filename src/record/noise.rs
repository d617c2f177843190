//! The noise of rounded arithmetic: how far correct computations in a dtype are from the true values.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::DType;
use rayon::prelude::*;

use super::setup::Setup;
use super::values::Truth;
use crate::Result;
use crate::compare::Scale;
use crate::graph::NodeId;
use crate::oracle::{Executor, Given, LastRead, ORDERS, OnBlocks, Placed, Precision, Rounded};
use crate::probe::{Arithmetic, Site};
use crate::reference::Feed;

impl Setup<'_> {
    /// The noise at every wanted site: `[dtypes, feeds, max and rms]`, flattened. `truth` gives the right values under a
    /// feed; `fed` has the values that a feed substitutes.
    pub fn noise(
        &self,
        arithmetic: Arithmetic,
        truth: &dyn Fn(Feed) -> Result<Truth>,
        fed: &Truth,
    ) -> Result<BTreeMap<Site, Vec<f64>>> {
        let width = self.dtypes.len() * self.feeds.len() * 2;
        let mut all: BTreeMap<Site, Vec<f64>> =
            self.wanted.values().map(|&site| (site, vec![f64::NAN; width])).collect();
        for (f, &feed) in self.feeds.iter().enumerate() {
            let truth = truth(feed)?;
            for (d, &dtype) in self.dtypes.iter().enumerate() {
                let given = fed.rounded(dtype)?.given(|site| feed.replaces(site.kind));
                let lane = Lane { setup: self, arithmetic, dtype, given: &given, truth: &truth };
                for (site, noise) in lane.measure()? {
                    if let Some(values) = all.get_mut(&site) {
                        let at = (d * self.feeds.len() + f) * 2;
                        values[at..at + 2].copy_from_slice(&noise);
                    }
                }
            }
        }
        Ok(all)
    }
}

/// Computations in one dtype under one feed.
pub(super) struct Lane<'a> {
    pub setup: &'a Setup<'a>,
    pub arithmetic: Arithmetic,
    pub dtype: DType,
    /// What the feed substitutes.
    pub given: &'a Given,
    pub truth: &'a Truth,
}

impl Lane<'_> {
    /// The largest error over rows and orders of summation, relative to the scale of its row, and the same of the root
    /// mean square. NaN if a value is NaN or infinite: such a site cannot be judged in this dtype.
    pub fn measure(&self) -> Result<BTreeMap<Site, [f64; 2]>> {
        let runs = (0..ORDERS).into_par_iter().map(|run| self.run(run)).collect::<Result<Vec<_>>>()?;
        let mut all: BTreeMap<Site, [f64; 2]> = BTreeMap::new();
        for (site, noise) in runs.into_iter().flatten() {
            let so_far = all.entry(site).or_insert([0.0; 2]);
            // Not `max`, which drops NaN.
            for (most, value) in so_far.iter_mut().zip(noise) {
                if value.is_nan() || value > *most {
                    *most = value;
                }
            }
        }
        Ok(all)
    }

    fn run(&self, run: usize) -> Result<Vec<(Site, [f64; 2])>> {
        let Setup { weights, graph, pass, wanted, .. } = *self.setup;
        let read = LastRead::default();
        let rounded = Rounded { precision: Precision::of(self.dtype), run };
        let executor =
            Executor::new(graph, weights, pass, OnBlocks::rounded(self.arithmetic, rounded, &read));
        let nodes: BTreeSet<NodeId> = wanted.keys().copied().collect();
        let mut all = Vec::new();
        executor.compute(&nodes, self.given, &mut |id, placed| {
            if let (Some(&site), Some(truth)) = (wanted.get(&id), self.truth.at(id)) {
                all.push((site, error(placed, truth)));
            }
            Ok(())
        })?;
        Ok(all)
    }
}

/// The largest error of a row, relative to the scale of the row: of the maximum, and of the root mean square. Masked
/// entries are left out.
pub(super) fn error(got: &Placed, truth: &Placed) -> [f64; 2] {
    let mut worst = [0.0; 2];
    for (&place, want) in truth.places().iter().zip(truth.rows().iter()) {
        let Some(row) = got.at(place) else { continue };
        let finite = || row.iter().zip(want).filter(|(_, want)| want.is_finite());
        let (scale, error) =
            (Scale::of(want.iter().copied()), Scale::of(finite().map(|(got, want)| got - want)));
        if finite().any(|(got, _)| !got.is_finite()) {
            return [f64::NAN; 2];
        }
        if scale.max > 0.0 {
            worst = [f64::max(worst[0], error.max / scale.max), f64::max(worst[1], error.rms / scale.rms)];
        }
    }
    worst
}
