//! `manifest.json`: what a case contains and where it comes from.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::probe::Arithmetic;

/// A position of a batch: its row in the batch, and its index in the padded sequence.
pub type Place = (usize, usize);

/// A case written by `scripts/capture_reference.py`.
#[derive(Clone, Debug, Deserialize)]
pub struct Manifest {
    /// Version of the format; this reader supports 2. Format 1 did not hash the noise.
    pub format: u32,
    /// The name of the model.
    pub model: String,
    /// The name of the case.
    pub case: String,
    /// Token ids, padded to a rectangle, `[batch, s]`.
    pub ids: Vec<Vec<u32>>,
    /// `left` or `right` if rows are padded. For information only: `rows` and `position_ids` decide.
    pub padding: Option<String>,
    /// Number of tokens in each batch row, without padding.
    pub lengths: Vec<usize>,
    /// Position ids, `[batch, s]`.
    pub position_ids: Vec<Vec<usize>>,
    /// Lists of stored places, by the name that sites refer to. `all` contains every place that is not
    /// padding.
    pub rows: BTreeMap<String, Vec<Place>>,
    /// Stored sites, by Hugging Face module path.
    pub sites: BTreeMap<String, SiteEntry>,
    /// The reference for each quantised arithmetic where it differs from the dense one, by `feed/site`.
    #[serde(default)]
    pub quantized: BTreeMap<Arithmetic, BTreeMap<String, SiteEntry>>,
    /// The first axis of the noise arrays.
    pub noise_dtypes: Vec<String>,
    /// The second axis of the noise arrays.
    pub noise_feeds: Vec<String>,
    /// The noise arrays for each arithmetic, by site.
    pub noise: BTreeMap<Arithmetic, BTreeMap<String, ArrayEntry>>,
    /// Whether a second, independent float64 oracle reproduces this reference.
    pub second_oracle: SecondOracle,
    /// Hashes, versions, the command.
    pub provenance: BTreeMap<String, serde_json::Value>,
}

/// The result of a second, independent float64 oracle for a case: `"pending"`, or `{"within": 1.2e-12}`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(untagged)]
pub enum SecondOracle {
    /// It computes the same values at every stored site.
    Agrees {
        /// The largest difference, as a share of the largest absolute reference value in its row.
        within: f64,
    },
    /// It has not been run yet.
    Pending(Pending),
}

/// Not run yet.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
pub enum Pending {
    /// Written as `"pending"`.
    #[serde(rename = "pending")]
    Pending,
}

/// A stored site.
#[derive(Clone, Debug, Deserialize)]
pub struct SiteEntry {
    /// The list of [`Manifest::rows`] that it stores.
    pub rows: String,
    /// `[rows, …]`.
    pub shape: Vec<usize>,
    /// SHA-256 of the float64 little-endian bytes.
    pub sha256: String,
}

/// A stored array of noise.
#[derive(Clone, Debug, Deserialize)]
pub struct ArrayEntry {
    /// `[dtypes, feeds, 2]`, or `[dtypes, feeds, 2, places]` if the noise of each place is stored.
    pub shape: Vec<usize>,
    /// SHA-256 of the float32 little-endian bytes.
    pub sha256: String,
}

/// The format version that is read and written. Format 1 did not hash the noise.
pub const FORMAT: u32 = 2;

/// The farthest position of a token.
const FARTHEST: usize = 1 << 24;

impl Manifest {
    /// The first inconsistency in the manifest, in words, if there is one.
    pub(super) fn fault(&self) -> Option<String> {
        let (batch, length) = (self.ids.len(), self.ids.first().map_or(0, Vec::len));
        let square = |n: usize, m: &dyn Fn(usize) -> usize| n == batch && (0..n).all(|b| m(b) == length);
        let inside = |&(b, s): &Place| b < batch && s < length;
        let twice = |places: &[Place]| places.windows(2).any(|pair| pair[0] >= pair[1]);
        if self.format != FORMAT {
            Some(format!("it has format version {}, but this program reads version {FORMAT}", self.format))
        } else if batch == 0 || length == 0 {
            Some("it has no tokens".into())
        } else if !square(self.ids.len(), &|b| self.ids[b].len())
            || !square(self.position_ids.len(), &|b| self.position_ids[b].len())
            || self.lengths.len() != batch
            || self.lengths.iter().any(|&n| n == 0 || n > length)
        {
            Some("ids, lengths and position_ids do not fit together".into())
        } else if let Some(far) = self.position_ids.iter().flatten().find(|&&position| position > FARTHEST) {
            Some(format!("position_ids contains {far}, but no context is longer than {FARTHEST}"))
        } else if let Some((name, _)) =
            self.rows.iter().find(|(_, r)| r.is_empty() || !r.iter().all(inside) || twice(r))
        {
            Some(format!("rows `{name}` are empty, out of order or out of range"))
        } else if self.rows.get("all").map(Vec::len) != Some(self.lengths.iter().sum()) {
            Some("rows `all` do not list all places that are not padding".into())
        } else if self.sites.is_empty() || self.quantized.values().any(BTreeMap::is_empty) {
            Some("it has no sites, so it cannot check anything".into())
        } else if let Some(fault) = self.fault_of_noise() {
            Some(fault)
        } else {
            self.sites
                .iter()
                .chain(self.quantized.values().flatten())
                .find(|(_, entry)| self.rows.get(&entry.rows).map(Vec::len) != entry.shape.first().copied())
                .map(|(site, _)| format!("{site}: its shape does not match its rows"))
        }
    }

    /// Every arithmetic must have noise: one array of the right shape for each site, and no others.
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
            return Some("the noise has no dtypes or no feeds".into());
        }
        if !self.noise.keys().copied().eq(arithmetics()) {
            return Some("the arithmetics in `noise` and in the reference differ".into());
        }
        for (arithmetic, entries) in &self.noise {
            if let Some(site) = self.sites.keys().find(|&site| !entries.contains_key(site)) {
                return Some(format!("there is no noise for {site} with {} arithmetic", arithmetic.name()));
            }
            if let Some((site, entry)) = entries.iter().find(|(_, entry)| !fits(entry)) {
                return Some(format!("the noise of {site} has the wrong shape {:?}", entry.shape));
            }
        }
        None
    }
}
