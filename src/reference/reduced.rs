//! Writes a reduced case: the reference and noise of a few sites, as files that [`Reference::read`] reads.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use serde_json::{Value, json};

use super::manifest::FORMAT;
use super::read::hex;
use super::{Reference, ReferenceRows, SecondOracle, SiteNoise};
use crate::arrays::Npz;
use crate::probe::Site;

/// A file's name and content.
pub(crate) type File = (String, Vec<u8>);

impl Reference {
    /// The files of a case that stores at most `sites` of this one, for dense arithmetic. `why` is recorded
    /// in its provenance.
    pub(crate) fn reduced(&self, sites: &BTreeSet<Site>, why: &str) -> io::Result<Vec<File>> {
        let stored: BTreeMap<Site, &ReferenceRows> =
            sites.iter().filter_map(|&site| Some((site, self.rows(site)?))).collect();
        let (mut values, mut noise) = (Npz::new(), Npz::new());
        for (site, stored) in &stored {
            let shape = [&[stored.places.len()][..], &stored.row_shape].concat();
            values.array(&site.to_string(), &shape, stored.values.iter().copied())?;
        }
        let mut noise_entries = BTreeMap::new();
        for (site, SiteNoise { values, places }) in self.noise.iter().filter(|(s, _)| stored.contains_key(s))
        {
            let mut shape = vec![self.manifest.noise_dtypes.len(), self.manifest.noise_feeds.len(), 2];
            shape.extend((*places > 1).then_some(*places));
            // They were read from float32, so this is exact.
            let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
            let sha256 = hex(&values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());
            noise.array(&site.to_string(), &shape, values)?;
            noise_entries.insert(site.to_string(), json!({ "shape": shape, "sha256": sha256 }));
        }
        let manifest = serde_json::to_vec_pretty(&self.manifest_of(&stored, noise_entries, why))?;
        Ok(vec![
            ("manifest.json".into(), manifest),
            ("reference.npz".into(), values.finish()?),
            ("noise.npz".into(), noise.finish()?),
        ])
    }

    fn manifest_of(
        &self,
        stored: &BTreeMap<Site, &ReferenceRows>,
        noise: BTreeMap<String, Value>,
        why: &str,
    ) -> Value {
        let whole = &self.manifest;
        let mut rows: BTreeMap<String, &[(usize, usize)]> = BTreeMap::new();
        rows.insert("all".into(), self.places());
        let mut sites = BTreeMap::new();
        for (site, reference) in stored {
            let site = site.to_string();
            let name = whole.sites.get(&site).map_or("all", |entry| entry.rows.as_str());
            rows.insert(name.into(), &reference.places);
            let shape = [&[reference.places.len()][..], &reference.row_shape].concat();
            let bytes: Vec<u8> = reference.values.iter().flat_map(|value| value.to_le_bytes()).collect();
            sites.insert(site, json!({ "rows": name, "shape": shape, "sha256": hex(&bytes) }));
        }
        let mut provenance = whole.provenance.clone();
        provenance.insert("reduced".into(), why.into());
        json!({
            "format": FORMAT,
            "model": whole.model,
            "case": whole.case,
            "ids": whole.ids,
            "padding": whole.padding,
            "lengths": whole.lengths,
            "position_ids": whole.position_ids,
            "rows": rows,
            "sites": sites,
            "noise_dtypes": whole.noise_dtypes,
            "noise_feeds": whole.noise_feeds,
            "noise": { "dense": noise },
            "second_oracle": match &whole.second_oracle {
                SecondOracle::Agrees { within } => json!({ "within": within }),
                SecondOracle::Pending(_) => json!("pending"),
            },
            "provenance": provenance,
        })
    }
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
