//! Files of a case → a case, every array held to what the manifest says of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::source::REGENERATE;
use super::{Batch, Feed, Manifest, Place, Quantized, Reference, SiteEntry, SiteNoise, Source, Truth, npz};
use crate::probe::Site;
use crate::{Error, Result};

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

pub(super) fn hash(values: &[f64]) -> String {
    let mut sha = Sha256::new();
    values.iter().for_each(|v| sha.update(v.to_le_bytes()));
    format!("{:x}", sha.finalize())
}
