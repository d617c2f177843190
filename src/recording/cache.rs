//! The slots before a pass, with the keys and values that it attends to there.

use std::collections::BTreeMap;

use super::site_tensor::SiteTensor;
use crate::probe::Site;

/// The slots before a pass, and their keys and values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cache {
    /// For each row of the batch, whether each slot before this pass has a token; the others are padding. Empty if
    /// the slots are unknown or there are none.
    pub(super) real: Vec<Vec<bool>>,
    /// Rotated keys, under `k_rope`, and values, under `v_proj`, of the layers where they are known.
    pub(super) tensors: BTreeMap<Site, SiteTensor>,
}

impl Cache {
    /// A cache whose rows have these slots: `true` for a token.
    pub fn new(real: Vec<Vec<bool>>) -> Self {
        Self { real, tensors: BTreeMap::new() }
    }

    /// The number of slots of each row.
    pub fn slots(&self) -> usize {
        self.real.first().map_or(0, Vec::len)
    }

    /// Does this slot have a token?
    pub fn is_real(&self, batch: usize, slot: usize) -> bool {
        self.real.get(batch).and_then(|row| row.get(slot)).is_some_and(|&real| real)
    }

    /// The number of tokens of each row.
    pub fn tokens(&self) -> Vec<usize> {
        self.real.iter().map(|row| row.iter().filter(|real| **real).count()).collect()
    }

    /// The cached rows of `k_rope` or `v_proj` of a layer. Its first row is at slot 0.
    pub fn at(&self, site: Site) -> Option<&SiteTensor> {
        self.tensors.get(&site)
    }

    /// The slots of this cache and of a pass after it, without keys and values.
    pub fn followed_by(&self, real: &[Vec<bool>]) -> Self {
        let rows = real.iter().enumerate().map(|(b, own)| {
            let before = self.real.get(b).map_or(&[][..], Vec::as_slice);
            [before, own].concat()
        });
        Self::new(rows.collect())
    }

    /// Sets the cached rows of a site.
    pub fn insert(&mut self, tensor: SiteTensor) {
        self.tensors.insert(tensor.site, tensor);
    }
}
