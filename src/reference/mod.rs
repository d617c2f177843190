//! Reference cases on disk: reference tensors at the sites of one case, measured noise, and their provenance.
//!
//! This module holds data only. The checkpoints define how many times the noise is allowed, and why.

mod batch;
mod facts;
mod feed;
mod files;
mod fixture;
mod made;
mod manifest;
mod noise;
mod read;
mod sampling;
mod source;

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::DType;

pub use batch::Batch;
pub use facts::{Chat, Config, Encode, Facts, Greedy, Message, Prompt, RopeScaling, TokenizerFacts, Tokens};
pub use feed::Feed;
pub use files::File;
pub use fixture::Fixture;
pub use made::{Made, MadeQuantized};
pub use manifest::{ArrayEntry, Manifest, Pending, Place, SecondOracle, SiteEntry};
use noise::SiteNoise;
pub use sampling::{Processors, Sampling, SamplingCase};
pub use source::Source;

use crate::compare::{Noise, Scale};
use crate::probe::{Arithmetic, Kind, Site};

/// The key in the provenance of a case that says which program computed it, if it was not PyTorch.
pub(crate) const TRUTH: &str = "truth";
/// Its value for a case that the project's own oracle computed.
pub(crate) const OWN_ORACLE: &str = "own oracle";

/// The reference at one site: some of its rows, each complete.
#[derive(Clone, Debug)]
pub struct ReferenceRows {
    /// The places of the stored rows, batch-major: row r of `values` is at `places[r]`.
    pub places: Arc<[Place]>,
    /// Shape of one row: `[width]` or `[heads, width]`.
    pub row_shape: Vec<usize>,
    /// `[rows, …row_shape]`, float64.
    pub values: Vec<f64>,
}

impl ReferenceRows {
    /// Row `r`, flattened.
    pub fn row(&self, r: usize) -> &[f64] {
        let width = self.row_shape.iter().product::<usize>();
        &self.values[r * width..(r + 1) * width]
    }

    /// The scale of row `r`.
    pub fn scale(&self, r: usize) -> Scale {
        Scale::of(self.row(r).iter().copied())
    }
}

/// One case: a model, its prompts, the reference tensors, and noise.
#[derive(Clone, Debug)]
pub struct Reference {
    /// What the case contains and where it comes from.
    pub manifest: Manifest,
    rows: BTreeMap<Site, ReferenceRows>,
    noise: BTreeMap<Site, SiteNoise>,
    quantized: BTreeMap<Arithmetic, Quantized>,
    places: Arc<[Place]>,
    tokens: Batch,
}

/// The reference and noise for a quantised arithmetic.
#[derive(Clone, Debug)]
struct Quantized {
    /// The sites at which the reference differs from the dense one.
    rows: BTreeMap<(Feed, Site), ReferenceRows>,
    noise: BTreeMap<Site, SiteNoise>,
}

impl Reference {
    /// Does this case have a reference for this arithmetic?
    pub fn knows(&self, arithmetic: Arithmetic) -> bool {
        arithmetic == Arithmetic::Dense || self.quantized.contains_key(&arithmetic)
    }

    /// The sites at which this arithmetic has its own reference, and under which feed.
    pub fn sites_on(&self, arithmetic: Arithmetic) -> impl Iterator<Item = (Feed, Site)> + '_ {
        self.quantized.get(&arithmetic).into_iter().flat_map(|quantized| quantized.rows.keys().copied())
    }

    /// What a port with `arithmetic` must compute at `site` under `feed`, if this case stores it.
    ///
    /// With quantised arithmetic, only matrix products and the values computed from them differ. On reference
    /// inputs, all other operations match the dense reference; embedding rows always do.
    pub fn rows_on(&self, arithmetic: Arithmetic, feed: Feed, site: Site) -> Option<&ReferenceRows> {
        let plain = || self.rows.get(&site);
        match self.quantized.get(&arithmetic) {
            None => plain().filter(|_| arithmetic == Arithmetic::Dense),
            Some(quantized) => quantized.rows.get(&(feed, site)).or_else(|| {
                plain().filter(|_| site.kind == Kind::Embed || feed == Feed::Site && !site.kind.is_product())
            }),
        }
    }

    /// The same case with only the rows that `keep` selects; a site without rows is removed.
    pub fn keeping(mut self, keep: impl Fn(Site, Place) -> bool) -> Self {
        for (&site, stored) in &mut self.rows {
            let kept = |r: &usize| keep(site, stored.places[*r]);
            let rows: Vec<usize> = (0..stored.places.len()).filter(kept).collect();
            let values = rows.iter().flat_map(|&r| stored.row(r).iter().copied()).collect();
            let places = rows.iter().map(|&r| stored.places[r]).collect();
            *stored = ReferenceRows { places, row_shape: std::mem::take(&mut stored.row_shape), values };
        }
        self.rows.retain(|_, stored| !stored.places.is_empty());
        self
    }

    /// The reference at `site`, if this case stores it.
    pub fn rows(&self, site: Site) -> Option<&ReferenceRows> {
        self.rows.get(&site)
    }

    /// Every stored site, in forward order.
    pub fn sites(&self) -> impl Iterator<Item = Site> + '_ {
        self.rows.keys().copied()
    }

    /// The places of the batch that are not padding.
    pub fn places(&self) -> &Arc<[Place]> {
        &self.places
    }

    /// The error of PyTorch's own runs in `dtype` with `arithmetic` under `feed`, at `site` and `place`;
    /// `None` if it was not measured.
    pub fn noise_on(
        &self,
        arithmetic: Arithmetic,
        feed: Feed,
        site: Site,
        place: Place,
        dtype: DType,
    ) -> Option<Noise> {
        let noise = match arithmetic {
            Arithmetic::Dense => self.noise.get(&site)?,
            quantized => self.quantized.get(&quantized)?.noise.get(&site)?,
        };
        noise.at(&self.manifest, dtype, feed, self.places.binary_search(&place).ok())
    }

    /// Whether the project's own oracle computed it, and not PyTorch.
    pub fn is_own(&self) -> bool {
        self.manifest.provenance.get(TRUTH).is_some_and(|truth| truth == OWN_ORACLE)
    }

    /// The number of keys: the padded length of the sequence.
    pub fn length(&self) -> usize {
        self.manifest.ids[0].len()
    }

    /// The number of rows in the batch.
    pub fn batch(&self) -> usize {
        self.manifest.ids.len()
    }
}

#[cfg(test)]
mod tests;
