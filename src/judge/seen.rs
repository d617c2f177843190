//! What one drive has shown that a red site can be explained from.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::window::Window;
use crate::probe::Site;
use crate::reference::Place;

/// A tensor that differs, as it was handed over.
pub(super) struct Kept {
    pub site: Site,
    pub tensor: Tensor,
    pub window: Window,
}

/// What one drive has shown.
#[derive(Default)]
pub(super) struct Seen {
    /// What was wrong of each site first.
    pub kept: BTreeMap<Site, Kept>,
    /// The port's own keys and values of padding.
    pub pads: Pads,
}

impl Seen {
    /// Adds what a later call of the drive has shown.
    pub fn add(&mut self, later: Self) {
        later.kept.into_iter().for_each(|(site, red)| {
            self.kept.entry(site).or_insert(red);
        });
        later.pads.into_iter().for_each(|(site, rows)| self.pads.entry(site).or_default().extend(rows));
    }
}

/// Rows at padded places, in the reference's order of columns.
pub(super) type Pads = BTreeMap<Site, Vec<(Place, Vec<f64>)>>;
