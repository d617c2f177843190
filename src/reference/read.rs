//! Reads the files of a case and checks every array against the manifest.

use std::collections::BTreeMap;
use std::sync::Arc;

use safetensors::Dtype;
use sha2::{Digest, Sha256};

use super::source::REGENERATE;
use super::{
    ArrayEntry, Batch, Feed, Manifest, Place, Quantized, Reference, ReferenceRows, SiteEntry, SiteNoise,
    Source,
};
use crate::arrays::{Arrays, Bytes};
use crate::probe::{Arithmetic, Site};
use crate::{Error, Result};

impl Reference {
    /// Reads the case in folder `case` of `source` (`""`: the source itself) and checks every array's shape
    /// and hash against the manifest.
    ///
    /// # Errors
    /// A file is missing; an array is not in the manifest, differs from it, or is listed but missing; a site
    /// does not exist in a Llama; or the noise is too large to be rounding.
    pub fn read(source: &Source, case: &str) -> Result<Self> {
        let file = |name: &str| if case.is_empty() { name.to_owned() } else { format!("{case}/{name}") };
        let manifest: Manifest = source.json(&file("manifest.json"))?;
        let origin = source.name_of(&file("manifest.json"));
        if let Some(fault) = manifest.fault() {
            return Err(Error::input(format!("{origin}: {fault}"), REGENERATE));
        }
        let places: BTreeMap<&str, Arc<[Place]>> =
            manifest.rows.iter().map(|(name, rows)| (name.as_str(), rows.as_slice().into())).collect();

        let arrays = |name: &str| source.arrays(&file(name));
        let stored = reference_rows(&arrays("reference.npz")?, &manifest.sites, &places)?;
        let plain =
            stored.into_iter().map(|(name, rows)| Ok((name.parse()?, rows))).collect::<Result<_>>()?;
        let noise_of = |file: &str, arithmetic| noise(&arrays(file)?, &manifest, arithmetic);
        let plain_noise = noise_of("noise.npz", Arithmetic::Dense)?;
        let mut quantized = BTreeMap::new();
        for (&arithmetic, entries) in &manifest.quantized {
            let name = arithmetic.name();
            let stored = reference_rows(&arrays(&format!("{name}.npz"))?, entries, &places)?;
            let own = stored.into_iter().map(|(name, rows)| Ok((under(&name)?, rows)));
            let own = own.collect::<Result<_>>()?;
            let noise = noise_of(&format!("{name}-noise.npz"), arithmetic)?;
            quantized.insert(arithmetic, Quantized { rows: own, noise });
        }
        let places = places["all"].clone();
        let tokens = Batch::new(&manifest, &places)?;
        Ok(Self { rows: plain, noise: plain_noise, quantized, places, tokens, manifest })
    }
}

/// Reads every array that `entries` lists. Other arrays, shapes or hashes are errors.
fn reference_rows(
    arrays: &Arrays,
    entries: &BTreeMap<String, SiteEntry>,
    places: &BTreeMap<&str, Arc<[Place]>>,
) -> Result<BTreeMap<String, ReferenceRows>> {
    no_other(arrays, |name| entries.contains_key(name))?;
    let read = |(name, entry): (&String, &SiteEntry)| {
        let values = listed(arrays, name, Dtype::F64, &entry.shape, &entry.sha256)?;
        let places = places[entry.rows.as_str()].clone();
        Ok((name.clone(), ReferenceRows { places, row_shape: entry.shape[1..].to_vec(), values }))
    };
    entries.iter().map(read).collect()
}

/// The noise of every site on `arithmetic`.
fn noise(arrays: &Arrays, manifest: &Manifest, arithmetic: Arithmetic) -> Result<BTreeMap<Site, SiteNoise>> {
    let entries = &manifest.noise[&arithmetic];
    no_other(arrays, |name| entries.contains_key(name))?;
    let read = |(name, entry): (&String, &ArrayEntry)| {
        let values = listed(arrays, name, Dtype::F32, &entry.shape, &entry.sha256)?;
        let noise = SiteNoise { values, places: entry.shape.get(3).copied().unwrap_or(1) };
        match noise.implausible(manifest).filter(|_| arithmetic == Arithmetic::Dense) {
            Some(why) => Err(arrays.fault(format!("{name}: {why}"))),
            None => Ok((name.parse()?, noise)),
        }
    };
    entries.iter().map(read).collect()
}

/// The values of the array `name`, which the manifest lists with this type, shape and hash.
fn listed(arrays: &Arrays, name: &str, dtype: Dtype, shape: &[usize], sha256: &str) -> Result<Vec<f64>> {
    let (values, bytes) = typed(arrays, name, dtype, shape)?;
    if hex(&bytes) == sha256 {
        Ok(values)
    } else {
        Err(arrays.fault(format!("{name} does not match the manifest (SHA-256)")))
    }
}

/// The values of the array `name`, which must have this type and shape, and their bytes in the file.
pub(super) fn typed(arrays: &Arrays, name: &str, dtype: Dtype, shape: &[usize]) -> Result<(Vec<f64>, Bytes)> {
    let entry = arrays.entry(name).ok_or_else(|| arrays.fault(format!("{name} is missing")))?;
    if entry.dtype != dtype || entry.shape != shape {
        let (got, of) = (&entry.shape, entry.dtype);
        return Err(arrays.fault(format!(
            "{name} has shape {got:?} and type {of:?}, but must have shape {shape:?} and type {dtype:?}"
        )));
    }
    let bytes = arrays.values(entry)?;
    let values = entry
        .floats(&bytes)
        .ok_or_else(|| arrays.fault(format!("{name} has type {dtype:?}, which cannot be read")))?;
    Ok((values, bytes))
}

/// An array that is not listed is an error.
pub(super) fn no_other(arrays: &Arrays, listed: impl Fn(&str) -> bool) -> Result<()> {
    match arrays.entries().find(|(name, _)| !listed(name)) {
        None => Ok(()),
        Some((name, _)) => Err(arrays.fault(format!("{name} is not in the manifest"))),
    }
}

/// Parses `feed/site`, the names of arrays of the quantised reference.
fn under(name: &str) -> Result<(Feed, Site)> {
    let (feed, site) = name.split_once('/').unwrap_or(("", name));
    let feed = Feed::named(feed)
        .ok_or_else(|| Error::input(format!("`{name}` does not start with a feed"), REGENERATE))?;
    Ok((feed, site.parse()?))
}

/// SHA-256 in lower-case hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}
