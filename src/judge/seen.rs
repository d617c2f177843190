//! What one drive has recorded for diagnosing its failing sites.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::window::Window;
use crate::probe::Site;
use crate::reference::Place;

/// A tensor that differs, as the port handed it over.
pub(super) struct Kept {
    pub site: Site,
    pub tensor: Tensor,
    pub window: Window,
}

/// Everything recorded in one drive.
#[derive(Default)]
pub(super) struct Seen {
    /// For each site, the first tensor that was wrong.
    pub kept: BTreeMap<Site, Kept>,
    /// The port's own keys and values at padding.
    pub pads: Pads,
}

impl Seen {
    /// Adds what a later call of the same drive recorded.
    pub fn add(&mut self, later: Self) {
        later.kept.into_iter().for_each(|(site, failed)| {
            self.kept.entry(site).or_insert(failed);
        });
        later.pads.into_iter().for_each(|(site, rows)| self.pads.entry(site).or_default().extend(rows));
    }
}

/// Rows at padding, in the reference's column order.
pub(super) type Pads = BTreeMap<Site, Vec<(Place, Vec<f64>)>>;
