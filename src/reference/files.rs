//! Writes a case, or a few sites of it, as files that [`Reference::read`] reads.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use serde_json::{Value, json};

use super::manifest::FORMAT;
use super::read::hex;
use super::{Quantized, Reference, ReferenceRows, SecondOracle, SiteNoise};
use crate::arrays::Npz;
use crate::probe::{Arithmetic, Site};

/// A file's name and content.
pub type File = (String, Vec<u8>);

impl ReferenceRows {
    /// `[rows, …row_shape]`.
    pub(super) fn shape(&self) -> Vec<usize> {
        [&[self.places.len()][..], &self.row_shape].concat()
    }

    /// The values as stored.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }
}

impl SiteNoise {
    /// The values as stored. They were read from float32, so this is exact.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.values.iter().flat_map(|&value| (value as f32).to_le_bytes()).collect()
    }
}

impl Reference {
    /// The files of the whole case.
    ///
    /// # Errors
    /// None in practice: they are written to memory.
    pub fn files(&self) -> io::Result<Vec<File>> {
        self.written(&self.sites().collect(), &self.quantized, self.manifest.provenance.clone())
    }

    /// The files of a case that stores at most `sites` of this one, for dense arithmetic. `why` is recorded
    /// in its provenance.
    pub(crate) fn reduced(&self, sites: &BTreeSet<Site>, why: &str) -> io::Result<Vec<File>> {
        let mut provenance = self.manifest.provenance.clone();
        provenance.insert("reduced".into(), why.into());
        self.written(sites, &BTreeMap::new(), provenance)
    }

    fn written(
        &self,
        sites: &BTreeSet<Site>,
        quantized: &BTreeMap<Arithmetic, Quantized>,
        provenance: BTreeMap<String, Value>,
    ) -> io::Result<Vec<File>> {
        let mut files = Vec::new();
        let mut lists: BTreeMap<String, &[(usize, usize)]> = BTreeMap::new();
        lists.insert("all".into(), self.places());
        let whole = &self.manifest;
        let stored = sites.iter().filter_map(|&site| Some((site.to_string(), self.rows(site)?)));
        let (entries, bytes) =
            arrays(stored, &mut lists, |site| whole.sites.get(site).map(|entry| entry.rows.as_str()))?;
        files.push(("reference.npz".into(), bytes));
        let (noise, bytes) = self.noise_arrays(&self.noise, sites)?;
        files.push(("noise.npz".into(), bytes));
        let mut noises = BTreeMap::from([(Arithmetic::Dense, noise)]);
        let mut quantized_entries = BTreeMap::new();
        for (&arithmetic, own) in quantized {
            let listed = whole.quantized.get(&arithmetic);
            let stored =
                own.rows.iter().map(|((feed, site), rows)| (format!("{}/{site}", feed.name()), rows));
            let (entries, bytes) = arrays(stored, &mut lists, |site| Some(listed?.get(site)?.rows.as_str()))?;
            files.push((format!("{}.npz", arithmetic.name()), bytes));
            quantized_entries.insert(arithmetic.key(), entries);
            let (noise, bytes) = self.noise_arrays(&own.noise, sites)?;
            files.push((format!("{}-noise.npz", arithmetic.name()), bytes));
            noises.insert(arithmetic, noise);
        }
        let noises: BTreeMap<&str, _> = noises.into_iter().map(|(a, noise)| (a.key(), noise)).collect();
        let mut manifest = json!({
            "format": FORMAT,
            "model": whole.model,
            "case": whole.case,
            "ids": whole.ids,
            "padding": whole.padding,
            "lengths": whole.lengths,
            "position_ids": whole.position_ids,
            "rows": lists,
            "sites": entries,
            "noise_dtypes": whole.noise_dtypes,
            "noise_feeds": whole.noise_feeds,
            "noise": noises,
            "second_oracle": match &whole.second_oracle {
                SecondOracle::Agrees { within } => json!({ "within": within }),
                SecondOracle::Pending(_) => json!("pending"),
            },
            "provenance": provenance,
        });
        if !quantized_entries.is_empty() {
            manifest["quantized"] = json!(quantized_entries);
        }
        files.insert(0, ("manifest.json".into(), serde_json::to_vec_pretty(&manifest)?));
        Ok(files)
    }

    /// The noise at `sites`: the manifest's entries, and the archive.
    fn noise_arrays(
        &self,
        noise: &BTreeMap<Site, SiteNoise>,
        sites: &BTreeSet<Site>,
    ) -> io::Result<(BTreeMap<String, Value>, Vec<u8>)> {
        let (mut entries, mut archive) = (BTreeMap::new(), Npz::new());
        let stored = |site: &Site| sites.contains(site) && self.rows(*site).is_some();
        for (site, noise) in noise.iter().filter(|(site, _)| stored(site)) {
            let mut shape = vec![self.manifest.noise_dtypes.len(), self.manifest.noise_feeds.len(), 2];
            shape.extend((noise.places > 1).then_some(noise.places));
            archive.array(&site.to_string(), &shape, noise.values.iter().map(|&value| value as f32))?;
            entries.insert(site.to_string(), json!({ "shape": shape, "sha256": hex(&noise.bytes()) }));
        }
        Ok((entries, archive.finish()?))
    }
}

/// These rows by name: the manifest's entries, and the archive. `list` is the name of the list of places of each, and
/// `lists` gets those that are used.
fn arrays<'a, 'n>(
    stored: impl Iterator<Item = (String, &'a ReferenceRows)>,
    lists: &mut BTreeMap<String, &'a [(usize, usize)]>,
    list: impl Fn(&str) -> Option<&'n str>,
) -> io::Result<(BTreeMap<String, Value>, Vec<u8>)> {
    let (mut entries, mut archive) = (BTreeMap::new(), Npz::new());
    for (name, rows) in stored {
        let list = list(&name).unwrap_or("all");
        lists.insert(list.into(), &rows.places);
        let shape = rows.shape();
        archive.array(&name, &shape, rows.values.iter().copied())?;
        entries.insert(name, json!({ "rows": list, "shape": shape, "sha256": hex(&rows.bytes()) }));
    }
    Ok((entries, archive.finish()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::Source;

    #[test]
    fn a_reduced_case_reads_back_with_only_the_chosen_sites() {
        let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny-llama");
        let whole = Reference::read(&Source::Folder(fixture.into()), "batch-left").unwrap();
        let sites: BTreeSet<Site> = ["model.layers.1.self_attn.q_rope", "model.layers.1.self_attn.q_proj"]
            .map(|site| site.parse().unwrap())
            .into();
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in whole.reduced(&sites, "for a test").unwrap() {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        let small = Reference::read(&Source::Folder(folder.path().into()), "").unwrap();
        assert_eq!(small.sites().collect::<BTreeSet<_>>(), sites);
        assert_eq!(small.places(), whole.places());
        assert_eq!(small.manifest.provenance["reduced"], "for a test");
        for &site in &sites {
            let (own, theirs) = (small.rows(site).unwrap(), whole.rows(site).unwrap());
            assert_eq!((&own.places, &own.row_shape), (&theirs.places, &theirs.row_shape));
            assert!(own.values == theirs.values);
            for &place in whole.places().iter() {
                let noise = |case: &Reference| {
                    let dense = crate::probe::Arithmetic::Dense;
                    case.noise_on(dense, crate::reference::Feed::Site, site, place, candle_core::DType::BF16)
                };
                assert!(noise(&small).is_some());
                assert_eq!(noise(&small), noise(&whole));
            }
        }
    }
}
