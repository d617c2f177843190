//! Cases on disk: truth at the sites of one case, measured noise, and where both come from.
//!
//! Facts only. How many times the noise is allowed, and why, stands with the checkpoint.

mod batch;
mod facts;
mod manifest;
mod npz;
mod reduced;
mod source;

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::DType;
use sha2::{Digest, Sha256};

pub use batch::Batch;
pub use facts::{
    Chat, Config, Encode, Facts, Fixture, Greedy, Message, Processors, Prompt, Sampling, SamplingCase, Tokens,
};
pub use manifest::{Manifest, Pending, Place, SecondOracle, SiteEntry};
pub(crate) use npz::Writer as Archive;
pub use source::Source;

use crate::compare::{Noise, Scale};
use crate::probe::{Arithmetic, Kind, Site};
use crate::{Error, Result};
use source::REGENERATE;

/// Where truth enters a forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Feed {
    /// After every stored site: each operation is judged on clean inputs.
    Site,
    /// At each block's input; inside a block the model goes on with its own values.
    Block,
    /// Nowhere.
    Own,
}

impl Feed {
    /// Its name in manifests and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Feed::Site => "site",
            Feed::Block => "block",
            Feed::Own => "own",
        }
    }

    /// Is a site of this kind replaced by truth?
    pub fn replaces(self, kind: Kind) -> bool {
        match self {
            Feed::Site => true,
            Feed::Block => matches!(kind, Kind::Embed | Kind::Block),
            Feed::Own => false,
        }
    }
}

/// Truth at one site: some rows of it, every value of each.
#[derive(Clone, Debug)]
pub struct Truth {
    /// The places stored, batch-major: row r of `values` is at `places[r]`.
    pub places: Arc<[Place]>,
    /// Shape of one row: `[width]` or `[heads, width]`.
    pub row_shape: Vec<usize>,
    /// `[rows, …row_shape]`, float64.
    pub values: Vec<f64>,
}

impl Truth {
    /// Row `r`, flat.
    pub fn row(&self, r: usize) -> &[f64] {
        let width = self.row_shape.iter().product::<usize>();
        &self.values[r * width..(r + 1) * width]
    }

    /// The size of row `r`.
    pub fn scale(&self, r: usize) -> Scale {
        Scale::of(self.row(r).iter().copied())
    }
}

/// Noise at one site, `[dtype, feed, max|rms]`, for rope sites also one a place.
#[derive(Clone, Debug)]
struct SiteNoise {
    values: Vec<f64>,
    places: usize,
}

/// One case: a model, its prompts, truth, and noise.
#[derive(Clone, Debug)]
pub struct Reference {
    /// What the case holds and where it comes from.
    pub manifest: Manifest,
    truth: BTreeMap<Site, Truth>,
    noise: BTreeMap<Site, SiteNoise>,
    quantized: BTreeMap<Arithmetic, Quantized>,
    places: Arc<[Place]>,
    tokens: Batch,
}

/// Truth and noise on a quantised arithmetic.
#[derive(Clone, Debug)]
struct Quantized {
    /// Where it differs from plain truth.
    truth: BTreeMap<(Feed, Site), Truth>,
    noise: BTreeMap<Site, SiteNoise>,
}

impl Reference {
    /// Reads the case in folder `case` of `source` (`""`: the source itself), checking every
    /// array's shape and hash against the manifest.
    ///
    /// # Errors
    /// A missing file, an array that the manifest does not list or that differs from it, a listed
    /// array that is missing, a site that no Llama has.
    pub fn read(source: &Source, case: &str) -> Result<Self> {
        let file = |name: &str| if case.is_empty() { name.to_owned() } else { format!("{case}/{name}") };
        let manifest: Manifest = source.json(&file("manifest.json"))?;
        let origin = source.name_of(&file("manifest.json"));
        if let Some(fault) = manifest.fault() {
            return Err(Error::input(format!("{origin}: {fault}"), REGENERATE));
        }
        let places: BTreeMap<&str, Arc<[Place]>> =
            manifest.rows.iter().map(|(name, rows)| (name.as_str(), rows.as_slice().into())).collect();

        let arrays =
            |name: &str| npz::Archive::open(source.demand(&file(name))?, source.name_of(&file(name)));
        let shelf = Shelf { manifest: &manifest, places: &places };
        let stored = shelf.truth(arrays("reference.npz")?, &manifest.sites)?;
        let truth =
            stored.into_iter().map(|(name, truth)| Ok((name.parse()?, truth))).collect::<Result<_>>()?;
        let noise = shelf.noise(arrays("noise.npz")?, &truth)?;
        let mut quantized = BTreeMap::new();
        for (&arithmetic, entries) in &manifest.quantized {
            let name = arithmetic.name();
            let stored = shelf.truth(arrays(&format!("{name}.npz"))?, entries)?;
            let own = stored.into_iter().map(|(name, truth)| Ok((under(&name)?, truth)));
            let own = own.collect::<Result<_>>()?;
            let noise = shelf.noise(arrays(&format!("{name}-noise.npz"))?, &truth)?;
            quantized.insert(arithmetic, Quantized { truth: own, noise });
        }
        let places = places["all"].clone();
        let tokens = Batch::new(&manifest, &places)?;
        Ok(Self { truth, noise, quantized, places, tokens, manifest })
    }

    /// Is there truth on this arithmetic?
    pub fn knows(&self, arithmetic: Arithmetic) -> bool {
        arithmetic == Arithmetic::Dense || self.quantized.contains_key(&arithmetic)
    }

    /// Where this arithmetic has a truth of its own, and under which feed.
    pub fn sites_on(&self, arithmetic: Arithmetic) -> impl Iterator<Item = (Feed, Site)> + '_ {
        self.quantized.get(&arithmetic).into_iter().flat_map(|quantized| quantized.truth.keys().copied())
    }

    /// What a port on `arithmetic` must compute at `site` under `feed`, if this case stores it.
    ///
    /// On a quantised arithmetic only matrix products differ, and what follows from them: on true
    /// inputs all other operations have plain truth, and embedding rows always.
    pub fn truth_on(&self, arithmetic: Arithmetic, feed: Feed, site: Site) -> Option<&Truth> {
        let plain = || self.truth.get(&site);
        match self.quantized.get(&arithmetic) {
            None => plain().filter(|_| arithmetic == Arithmetic::Dense),
            Some(quantized) => quantized.truth.get(&(feed, site)).or_else(|| {
                plain().filter(|_| site.kind == Kind::Embed || feed == Feed::Site && !site.kind.is_product())
            }),
        }
    }

    /// The same case, storing no more than the rows that `keep` says; a site without any is gone.
    pub fn keeping(mut self, keep: impl Fn(Site, Place) -> bool) -> Self {
        for (&site, truth) in &mut self.truth {
            let kept = |r: &usize| keep(site, truth.places[*r]);
            let rows: Vec<usize> = (0..truth.places.len()).filter(kept).collect();
            let values = rows.iter().flat_map(|&r| truth.row(r).iter().copied()).collect();
            let places = rows.iter().map(|&r| truth.places[r]).collect();
            *truth = Truth { places, row_shape: std::mem::take(&mut truth.row_shape), values };
        }
        self.truth.retain(|_, truth| !truth.places.is_empty());
        self
    }

    /// Truth at `site`, if this case stores it.
    pub fn truth(&self, site: Site) -> Option<&Truth> {
        self.truth.get(&site)
    }

    /// Every stored site, in forward order.
    pub fn sites(&self) -> impl Iterator<Item = Site> + '_ {
        self.truth.keys().copied()
    }

    /// The real places of the batch.
    pub fn places(&self) -> &Arc<[Place]> {
        &self.places
    }

    /// What PyTorch's own runs in `dtype` on `arithmetic` under `feed` err by at `site` and `place`;
    /// `None` where it was not measured.
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
        let name = match dtype {
            DType::F32 => "f32",
            DType::BF16 => "bf16",
            DType::F16 => "f16",
            _ => return None,
        };
        let dtype = self.manifest.noise_dtypes.iter().position(|d| d == name)?;
        let column = self.manifest.noise_feeds.iter().position(|f| f == feed.name())?;
        let place = match noise.places {
            1 => 0,
            _ => self.places.binary_search(&place).ok().filter(|&p| p < noise.places)?,
        };
        let at = |which: usize| {
            let index = (dtype * self.manifest.noise_feeds.len() + column) * 2 + which;
            noise.values[index * noise.places + place]
        };
        let noise = Noise { max: at(0), rms: at(1) };
        (!noise.max.is_nan() && !noise.rms.is_nan()).then_some(noise)
    }

    /// Keys of the sequence: its padded length.
    pub fn length(&self) -> usize {
        self.manifest.ids[0].len()
    }

    /// Rows of the batch.
    pub fn batch(&self) -> usize {
        self.manifest.ids.len()
    }
}

/// What the arrays of a case are held to while they are read.
struct Shelf<'a> {
    manifest: &'a Manifest,
    places: &'a BTreeMap<&'a str, Arc<[Place]>>,
}

impl Shelf<'_> {
    /// Every array that `entries` list, and no other, each of the shape and hash it should have.
    fn truth(
        &self,
        mut arrays: npz::Archive,
        entries: &BTreeMap<String, SiteEntry>,
    ) -> Result<BTreeMap<String, Truth>> {
        let mut truth = BTreeMap::new();
        for (name, entry) in entries {
            let values = arrays.f64(name, &entry.shape)?;
            if hash(&values) != entry.sha256 {
                return Err(arrays.fault(format!("{name} is not what the manifest says it is (SHA-256)")));
            }
            let places = self.places[entry.rows.as_str()].clone();
            truth.insert(name.clone(), Truth { places, row_shape: entry.shape[1..].to_vec(), values });
        }
        arrays.all_read()?;
        Ok(truth)
    }

    /// The noise of every site, those of `truth` among them.
    fn noise(
        &self,
        mut arrays: npz::Archive,
        truth: &BTreeMap<Site, Truth>,
    ) -> Result<BTreeMap<Site, SiteNoise>> {
        let pairs = self.manifest.noise_dtypes.len() * self.manifest.noise_feeds.len() * 2;
        let mut noise = BTreeMap::new();
        for name in arrays.unread() {
            let values = arrays.f32(&name)?;
            if pairs == 0 || values.is_empty() || values.len() % pairs != 0 {
                return Err(arrays.fault(format!("{name} has a wrong shape")));
            }
            let places = values.len() / pairs;
            noise.insert(name.parse()?, SiteNoise { values, places });
        }
        match truth.keys().find(|&site| !noise.contains_key(site)) {
            Some(site) => Err(arrays.fault(format!("no noise for {site}"))),
            None => Ok(noise),
        }
    }
}

/// `feed/site`, as arrays of quantised truth are named.
fn under(name: &str) -> Result<(Feed, Site)> {
    let (feed, site) = name.split_once('/').unwrap_or(("", name));
    let feed = [Feed::Site, Feed::Block, Feed::Own].into_iter().find(|known| known.name() == feed);
    let feed = feed.ok_or_else(|| Error::input(format!("`{name}` names no feed"), REGENERATE))?;
    Ok((feed, site.parse()?))
}

fn hash(values: &[f64]) -> String {
    let mut sha = Sha256::new();
    values.iter().for_each(|v| sha.update(v.to_le_bytes()));
    format!("{:x}", sha.finalize())
}

#[cfg(test)]
mod tests;
