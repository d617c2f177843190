//! Makes a case from values that were computed here, as if it had been read.

use std::collections::BTreeMap;

use candle_core::DType;
use serde_json::Value;

use super::manifest::FORMAT;
use super::noise::name_of;
use super::read::hex;
use super::{
    ArrayEntry, Batch, Feed, Manifest, Pending, Place, Quantized, Reference, ReferenceRows, SecondOracle,
    SiteEntry, SiteNoise,
};
use crate::probe::{Arithmetic, Site};
use crate::{Error, Result};

/// The parts of a case. Noise is `[dtypes, feeds, max and rms]` for each site, flattened; NaN means not measured.
#[allow(missing_docs, reason = "the fields of a manifest")]
#[derive(Clone, Debug)]
pub struct Made {
    pub model: String,
    pub case: String,
    pub ids: Vec<Vec<u32>>,
    pub positions: Vec<Vec<usize>>,
    pub lengths: Vec<usize>,
    pub padding: Option<String>,
    /// The places that are not padding.
    pub places: Vec<Place>,
    pub rows: BTreeMap<Site, ReferenceRows>,
    pub noise: BTreeMap<Site, Vec<f64>>,
    pub quantized: BTreeMap<Arithmetic, MadeQuantized>,
    pub dtypes: Vec<DType>,
    pub feeds: Vec<Feed>,
    pub provenance: BTreeMap<String, Value>,
}

/// The parts of a case that belong to one arithmetic.
#[derive(Clone, Debug)]
pub struct MadeQuantized {
    /// The values where they differ from those of dense products.
    pub rows: BTreeMap<(Feed, Site), ReferenceRows>,
    /// The noise at every site.
    pub noise: BTreeMap<Site, Vec<f64>>,
}

impl Reference {
    /// The case of these parts.
    ///
    /// # Errors
    /// The parts do not fit together.
    pub fn made(made: Made) -> Result<Self> {
        let mut lists: BTreeMap<String, Vec<Place>> = BTreeMap::from([(ALL.to_owned(), made.places.clone())]);
        let mut sites = BTreeMap::new();
        for (site, rows) in &made.rows {
            sites.insert(site.to_string(), entry(&mut lists, rows));
        }
        let mut quantized_sites = BTreeMap::new();
        let width = [made.dtypes.len(), made.feeds.len(), 2];
        // A site that is given and not computed has no noise.
        let complete = |noise: BTreeMap<Site, Vec<f64>>| -> BTreeMap<Site, SiteNoise> {
            let of = |&site: &Site| noise.get(&site).cloned();
            let all = made.rows.keys().map(|site| {
                let values = of(site).unwrap_or_else(|| vec![f64::NAN; width.iter().product()]);
                // As they are stored, so that a case judges in the same way before and after.
                let values = values.into_iter().map(|value| f64::from(value as f32)).collect();
                (*site, SiteNoise { values, places: 1 })
            });
            all.collect()
        };
        let listed = |noise: &BTreeMap<Site, SiteNoise>| -> BTreeMap<String, ArrayEntry> {
            let of = |(site, noise): (&Site, &SiteNoise)| {
                (site.to_string(), ArrayEntry { shape: width.to_vec(), sha256: hex(&noise.bytes()) })
            };
            noise.iter().map(of).collect()
        };
        let noise = complete(made.noise);
        let mut noises = BTreeMap::from([(Arithmetic::Dense, listed(&noise))]);
        let mut quantized = BTreeMap::new();
        for (arithmetic, own) in made.quantized {
            let entries = own.rows.iter();
            let entries = entries
                .map(|((feed, site), rows)| (format!("{}/{site}", feed.name()), entry(&mut lists, rows)));
            quantized_sites.insert(arithmetic, entries.collect());
            let noise = complete(own.noise);
            noises.insert(arithmetic, listed(&noise));
            quantized.insert(arithmetic, Quantized { rows: own.rows, noise });
        }
        let manifest = Manifest {
            format: FORMAT,
            model: made.model,
            case: made.case,
            ids: made.ids,
            padding: made.padding,
            lengths: made.lengths,
            position_ids: made.positions,
            rows: lists,
            sites,
            quantized: quantized_sites,
            noise_dtypes: made.dtypes.iter().filter_map(|&dtype| name_of(dtype)).map(str::to_owned).collect(),
            noise_feeds: made.feeds.iter().map(|feed| feed.name().to_owned()).collect(),
            noise: noises,
            second_oracle: SecondOracle::Pending(Pending::Pending),
            provenance: made.provenance,
        };
        if let Some(fault) = manifest.fault() {
            return Err(Error::internal(format!("the case does not fit together: {fault}")));
        }
        let tokens = Batch::new(&manifest, &made.places)?;
        Ok(Self { rows: made.rows, noise, quantized, places: made.places.into(), tokens, manifest })
    }
}

/// The list of all places that are not padding.
const ALL: &str = "all";

/// The manifest's entry for these rows, whose places get their own list unless there is one.
fn entry(lists: &mut BTreeMap<String, Vec<Place>>, rows: &ReferenceRows) -> SiteEntry {
    let known = lists.iter().find(|(_, places)| ***places == *rows.places).map(|(name, _)| name.clone());
    let name = known.unwrap_or_else(|| {
        let name = format!("some-{}", lists.len());
        lists.insert(name.clone(), rows.places.to_vec());
        name
    });
    SiteEntry { rows: name, shape: rows.shape(), sha256: hex(&rows.bytes()) }
}
