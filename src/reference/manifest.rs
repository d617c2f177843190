//! `manifest.json`: what a case holds, and where it comes from.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::probe::Arithmetic;

/// A position of a batch: its row in the batch, and its index in the padded sequence.
pub type Place = (usize, usize);

/// A case as written by `scripts/capture_reference.py`.
#[derive(Clone, Debug, Deserialize)]
pub struct Manifest {
    /// Version of the format: this reader knows 2. Format 1 did not hash the noise.
    pub format: u32,
    /// The model.
    pub model: String,
    /// The case.
    pub case: String,
    /// Token ids, padded to a rectangle, `[batch, s]`.
    pub ids: Vec<Vec<u32>>,
    /// `left` or `right` where rows are padded. For readers: `rows` and `position_ids` decide.
    pub padding: Option<String>,
    /// Real tokens of each batch row.
    pub lengths: Vec<usize>,
    /// Position ids, `[batch, s]`.
    pub position_ids: Vec<Vec<usize>>,
    /// Which places are stored, by the name that sites refer to. `all` is every real place.
    pub rows: BTreeMap<String, Vec<Place>>,
    /// Stored sites, by Hugging Face module path.
    pub sites: BTreeMap<String, SiteEntry>,
    /// Truth on quantised arithmetics, by their names: `feed/site`, where it differs from plain truth.
    #[serde(default)]
    pub quantized: BTreeMap<Arithmetic, BTreeMap<String, SiteEntry>>,
    /// The first axis of the noise arrays.
    pub noise_dtypes: Vec<String>,
    /// The second axis of the noise arrays.
    pub noise_feeds: Vec<String>,
    /// The noise arrays on each arithmetic, by their sites.
    pub noise: BTreeMap<Arithmetic, BTreeMap<String, ArrayEntry>>,
    /// What a second, independent float64 oracle says of this truth.
    pub second_oracle: SecondOracle,
    /// Hashes, versions, the command.
    pub provenance: BTreeMap<String, serde_json::Value>,
}

/// What a second, independent float64 oracle says of a case: `"pending"`, or `{"within": 1.2e-12}`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(untagged)]
pub enum SecondOracle {
    /// It computes the same at every stored site.
    Agrees {
        /// The largest difference, as a share of its row's largest |truth|.
        within: f64,
    },
    /// It was not asked yet.
    Pending(Pending),
}

/// Not asked yet.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
pub enum Pending {
    /// Written so.
    #[serde(rename = "pending")]
    Pending,
}

/// A stored site.
#[derive(Clone, Debug, Deserialize)]
pub struct SiteEntry {
    /// Which of [`Manifest::rows`] it holds.
    pub rows: String,
    /// `[rows, …]`.
    pub shape: Vec<usize>,
    /// SHA-256 of the float64 little-endian bytes.
    pub sha256: String,
}

/// A stored array of noise.
#[derive(Clone, Debug, Deserialize)]
pub struct ArrayEntry {
    /// `[dtypes, feeds, 2]`, or `[dtypes, feeds, 2, places]` where the noise of each place is stored.
    pub shape: Vec<usize>,
    /// SHA-256 of the float32 little-endian bytes.
    pub sha256: String,
}

/// The version of the format that is read and written. Format 1 did not hash the noise.
pub const FORMAT: u32 = 2;

impl Manifest {
    /// Does what it says of itself fit together? The first thing that does not, in words.
    pub(super) fn fault(&self) -> Option<String> {
        let (batch, length) = (self.ids.len(), self.ids.first().map_or(0, Vec::len));
        let square = |n: usize, m: &dyn Fn(usize) -> usize| n == batch && (0..n).all(|b| m(b) == length);
        let inside = |&(b, s): &Place| b < batch && s < length;
        let twice = |places: &[Place]| places.windows(2).any(|pair| pair[0] >= pair[1]);
        if self.format != FORMAT {
            Some(format!("its format is {}; this version reads format {FORMAT}", self.format))
        } else if batch == 0 || length == 0 {
            Some("no tokens".into())
        } else if !square(self.ids.len(), &|b| self.ids[b].len())
            || !square(self.position_ids.len(), &|b| self.position_ids[b].len())
            || self.lengths.len() != batch
            || self.lengths.iter().any(|&n| n == 0 || n > length)
        {
            Some("ids, lengths and position_ids disagree".into())
        } else if let Some((name, _)) =
            self.rows.iter().find(|(_, r)| r.is_empty() || !r.iter().all(inside) || twice(r))
        {
            Some(format!("rows `{name}` are empty, out of order or out of range"))
        } else if self.rows.get("all").map(Vec::len) != Some(self.lengths.iter().sum()) {
            Some("rows `all` are not the real places".into())
        } else if self.sites.is_empty() || self.quantized.values().any(BTreeMap::is_empty) {
            Some("no sites: an empty case proves nothing".into())
        } else if let Some(fault) = self.fault_of_noise() {
            Some(fault)
        } else {
            self.sites
                .iter()
                .chain(self.quantized.values().flatten())
                .find(|(_, entry)| self.rows.get(&entry.rows).map(Vec::len) != entry.shape.first().copied())
                .map(|(site, _)| format!("{site}: its shape and its rows disagree"))
        }
    }

    /// Every arithmetic has noise, one array of the right shape for each site and no other.
    fn fault_of_noise(&self) -> Option<String> {
        let heads = [self.noise_dtypes.len(), self.noise_feeds.len(), 2];
        let places = self.rows.get("all").map_or(0, Vec::len);
        let fits = |entry: &ArrayEntry| match entry.shape.strip_prefix(&heads) {
            Some([]) => true,
            Some([n]) => *n == places,
            _ => false,
        };
        let arithmetics = || [Arithmetic::Dense].into_iter().chain(self.quantized.keys().copied());
        if heads.contains(&0) {
            return Some("noise of no dtype or no feed".into());
        }
        if !self.noise.keys().copied().eq(arithmetics()) {
            return Some("the arithmetics of `noise` are not those of the truth".into());
        }
        for (arithmetic, entries) in &self.noise {
            if let Some(site) = self.sites.keys().find(|&site| !entries.contains_key(site)) {
                return Some(format!("no noise for {site} on {} arithmetic", arithmetic.name()));
            }
            if let Some((site, entry)) = entries.iter().find(|(_, entry)| !fits(entry)) {
                return Some(format!("the noise of {site} has the shape {:?}", entry.shape));
            }
        }
        None
    }
}
