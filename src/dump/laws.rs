//! Laws between passes: a pass finds in its cache what the passes before it computed, and its rows are those of one
//! prefill of the whole text.

use std::collections::{BTreeMap, BTreeSet};

use super::Against;
use super::judged::whole;
use super::passes::{Pass, Passes};
use super::replayed::prefill;
use crate::Result;
use crate::compare::ulp;
use crate::judge::rows::{ExpectedRow, compare_rows};
use crate::judge::{Drive, Finding, Verdict};
use crate::probe::{Kind, Site};
use crate::recording::{Recording, SiteTensor};
use crate::reference::Place;

impl Passes {
    /// Judges the laws of the cache. The rows are compared with one prefill only if `right`: a wrong operation changes
    /// all rows that are computed from it, and says nothing about the cache.
    ///
    /// # Errors
    /// A tensor or a weight cannot be read.
    pub fn laws(&self, against: &Against<'_>, right: bool) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for pass in &self.all {
            findings.extend(in_the_cache(pass, Kind::KRope, "cached keys")?);
            findings.extend(in_the_cache(pass, Kind::VProj, "cached values")?);
        }
        for text in self.texts().into_iter().filter(|text| right && text.len() > 1) {
            findings.extend(as_one_prefill(text, against)?);
        }
        Ok(findings)
    }

    /// The passes of each text, from its first token on.
    fn texts(&self) -> Vec<&[Pass]> {
        let mut texts: Vec<&[Pass]> = Vec::new();
        let mut first = 0;
        let slots = |pass: &Pass| pass.recording.cache().slots();
        for (n, pass) in self.all.iter().enumerate() {
            let begins = slots(pass) == 0 && !pass.recording.reads_a_cache();
            let continues = n > first && slots(pass) > 0 && slots(pass) == pass.earlier.slots();
            if !continues {
                texts.push(&self.all[first..n]);
                first = if begins { n } else { n + 1 };
            }
        }
        texts.push(self.all.get(first..).unwrap_or_default());
        texts
    }
}

/// Are the recorded cached rows those that earlier passes computed? `None` if one of the two was not recorded.
fn in_the_cache(pass: &Pass, kind: Kind, about: &str) -> Result<Option<Finding>> {
    let (dump, earlier) = (&pass.recording, &pass.earlier);
    let recorded: Vec<Site> = dump.cached_sites().into_iter().filter(|site| site.kind == kind).collect();
    let slots = dump.cache().slots();
    let mut share: Option<f64> = None;
    let mut broken = None;
    for site in recorded {
        let (Some(found), Some(computed)) = (dump.cache().at(site), earlier.rows(site)) else { continue };
        if earlier.slots() != slots {
            let how = format!(
                "the cache has {slots} slots, but the passes before it computed {}: {site} cannot be compared",
                earlier.slots()
            );
            broken = Some(how);
            break;
        }
        let (worst, place) = farthest(dump, found, computed)?;
        share = Some(share.unwrap_or(0.0).max(worst));
        if worst > 1.0 {
            broken = Some(stale(site, place, computed, found, dump)?);
            break;
        }
    }
    let verdict = match (broken, share) {
        (Some(how), _) => Verdict::Broken(how),
        (None, Some(share)) => Verdict::Pass(share),
        (None, None) => return Ok(None),
    };
    let case = format!("pass {}", pass.number);
    Ok(Some(Finding { case, drive: Drive::Recorded, ..Finding::new(about, verdict) }))
}

/// The row of the cache that is farthest from what was computed, and by how many roundings to the dtype of the cache.
fn farthest(dump: &Recording, found: &SiteTensor, computed: &SiteTensor) -> Result<(f64, Place)> {
    let mut worst = (0.0, (0, 0));
    for place in cached_places(dump) {
        let (found_row, row) = (found.rows(&[place])?, computed.rows(&[place])?);
        let largest = row.iter().fold(0f64, |most, value| most.max(value.abs()));
        let apart = found_row.iter().zip(&row).fold(0f64, |most, (a, b)| most.max((a - b).abs()));
        let away = if apart == 0.0 { 0.0 } else { apart / (largest * ulp(found.tensor.dtype())) };
        if away > worst.0 || away.is_nan() {
            worst = (if away.is_nan() { f64::INFINITY } else { away }, place);
        }
    }
    Ok(worst)
}

/// The places of the cached tokens.
fn cached_places(dump: &Recording) -> Vec<Place> {
    let cache = dump.cache();
    let row = |b: usize| (0..cache.slots()).map(move |slot| (b, slot));
    (0..dump.input.batch()).flat_map(row).filter(|&(b, slot)| cache.is_real(b, slot)).collect()
}

/// What is at this place of the cache instead.
fn stale(
    site: Site,
    place: Place,
    computed: &SiteTensor,
    found: &SiteTensor,
    dump: &Recording,
) -> Result<String> {
    let row = found.rows(&[place])?;
    let (batch, slot) = place;
    let instead = if row.iter().all(|&value| value == 0.0) {
        ": it is zero".to_owned()
    } else {
        let same = |other: &Place| {
            let largest = row.iter().fold(0f64, |most, value| most.max(value.abs()));
            let theirs = computed.rows(&[*other]).unwrap_or_default();
            let close = |(a, b): (&f64, &f64)| (a - b).abs() <= largest * ulp(found.tensor.dtype());
            *other != place && theirs.len() == row.len() && theirs.iter().zip(&row).all(close)
        };
        let others = cached_places(dump);
        others
            .iter()
            .find(|other| same(other))
            .map_or(String::new(), |(b, slot)| format!(": it is that of the token in slot {slot} of row {b}"))
    };
    let what = if site.kind == Kind::KRope { "key" } else { "value" };
    let layer = site.layer.unwrap_or(0);
    Ok(format!(
        "in layer {layer}, the cached {what} in slot {slot} of row {batch} is not what the earlier pass computed{instead}"
    ))
}

/// Compares the rows of every pass of a text with those of one prefill of the whole text in float64. The site is the
/// last one that every pass recorded.
fn as_one_prefill(text: &[Pass], against: &Against<'_>) -> Result<Vec<Finding>> {
    let Some(first) = text.first().map(|pass| &pass.recording) else { return Ok(vec![]) };
    let in_all = |site: &Site| text.iter().all(|pass| pass.recording.has(*site));
    let sites = first.sites().filter(|site| !site.kind.over_keys() && in_all(site));
    let (Some(site), Some(_)) = (sites.max(), against.weights) else { return Ok(vec![]) };
    let joined = Recording::joined(text.iter().map(|pass| &pass.recording));
    let (mut exact, mut noise) = (BTreeMap::new(), BTreeMap::new());
    prefill(&joined, against, first.layers(against)?, &BTreeSet::from([site]), &mut |_, rows, errors| {
        let rows = rows.places().iter().zip(rows.rows().iter());
        exact.extend(rows.map(|(&place, row)| (place, row.to_vec())));
        noise.extend(errors);
    })?;
    let mut findings = Vec::new();
    for pass in text {
        let dump = &pass.recording;
        let Some(recorded) = dump.fit(site, against)? else { continue };
        let places: Vec<Place> = dump
            .places()
            .into_iter()
            .filter(|&place| recorded.holds(place) && exact.contains_key(&place))
            .collect();
        let wanted: Vec<ExpectedRow<'_>> = places
            .iter()
            .filter_map(|&place| {
                let noise = noise.get(&place).copied();
                let noise = noise.map(|noise| dump.saved.map_or(noise, |saved| noise.plus(saved.noise())));
                let query = place.1 - recorded.first;
                Some(ExpectedRow { place, query, want: exact.get(&place)?, noise, entries: None })
            })
            .collect();
        let columns = recorded.layout.columns(recorded.shape().width);
        let terms = against.terms(dump, whole().1);
        let compared = compare_rows(&recorded.tensor, recorded.shape(), &wanted, &terms, columns.as_deref())?;
        if compared.verdict == Verdict::Incomparable {
            continue; // rounding grows as large as the rows themselves
        }
        let about = format!("{site} as in one prefill");
        findings.push(Finding {
            case: format!("pass {}", pass.number),
            drive: Drive::Recorded,
            incomparable: compared.incomparable,
            ..Finding::new(about, compared.verdict)
        });
    }
    Ok(findings)
}
