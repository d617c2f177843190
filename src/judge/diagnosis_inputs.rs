//! What one drive has recorded for diagnosing its failing sites.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::window::Window;
use crate::probe::Site;
use crate::reference::Place;

/// A tensor that differs, as the port handed it over.
pub(super) struct FailedTensor {
    pub site: Site,
    pub tensor: Tensor,
    pub window: Window,
}

/// Everything recorded in one drive.
#[derive(Default)]
pub(super) struct DiagnosisInputs {
    /// For each site, the first tensor that was wrong.
    pub failed: BTreeMap<Site, FailedTensor>,
    /// The port's own keys and values at padding.
    pub padding: PaddingRows,
}

impl DiagnosisInputs {
    /// Adds what a later call of the same drive recorded.
    pub fn add(&mut self, later: Self) {
        later.failed.into_iter().for_each(|(site, tensor)| {
            self.failed.entry(site).or_insert(tensor);
        });
        later.padding.into_iter().for_each(|(site, rows)| self.padding.entry(site).or_default().extend(rows));
    }
}

/// Rows at padding, in the reference's column order.
pub(super) type PaddingRows = BTreeMap<Site, Vec<(Place, Vec<f64>)>>;
