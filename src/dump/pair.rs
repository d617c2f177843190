//! Compares two recordings: where do they first differ, and which operation introduced the difference?

use std::collections::BTreeSet;

use super::Against;
use super::judged::{Coverage, Found, whole};
use super::reference::{finding, noise_of};
use super::replayed::{FirstWrong, own_noise};
use crate::checkpoints::Checkpoint;
use crate::compare::{Noise, ulp};
use crate::judge::rows::{Compared, ExpectedRow, Terms, compare_rows};
use crate::judge::{Drive, Outcome, Status, Verdict};
use crate::oracle::Rows;
use crate::probe::Site;
use crate::recording::{Recording, SiteTensor};
use crate::reference::{Feed, Place};
use crate::{Error, Result};

/// The result of comparing two recordings.
#[derive(Debug)]
pub struct Pair {
    /// The outcome of each checkpoint, in their order.
    pub outcomes: Vec<Outcome>,
    /// How many of the sites of a pass both recordings contain.
    pub coverage: Coverage,
    /// The first site at which they differ by more than two correct runs may.
    pub part: Option<Site>,
    /// For each recording, the first operation whose output is wrong given its own inputs.
    pub first_wrong: [Option<FirstWrong>; 2],
}

/// The error of correct runs at a site and place.
type Allowed<'n> = Box<dyn Fn(Site, Place) -> Option<Noise> + 'n>;

impl Recording {
    /// Compares the recording with `other`, a run of the same prompt. Two correct runs may differ by the sum
    /// of what each may differ from the reference; neither of them is the reference.
    ///
    /// # Errors
    /// The prompts differ, there is no common site, or there are neither weights nor a case from which to
    /// derive the error of correct runs.
    pub fn judge_against(
        &self,
        other: &Recording,
        against: &Against<'_>,
        checkpoints: &[&'static Checkpoint],
    ) -> Result<Pair> {
        self.same_prompt(other)?;
        let layers = self.layers(against)?.max(other.layers(against)?);
        let mut coverage = self.coverage(layers, self.kinds(against)?);
        let apart = |site: &Site| !other.has(*site) && self.has(*site);
        let only_here: Vec<Site> = self.sites().filter(apart).collect();
        coverage.recorded -= only_here.iter().filter(|site| !coverage.missing.contains(site)).count();
        coverage.missing.extend(only_here);
        coverage.missing.sort();
        let common: BTreeSet<Site> = self.sites().filter(|site| other.has(*site)).collect();
        if common.is_empty() {
            let hint = "record the same sites in both";
            return Err(Error::file(&self.name, format!("no site in common with {}", other.name), hint));
        }
        let mut found = Found::default();
        let replayed = self.by_replay(against, None, &mut found)?;
        let theirs = other.by_replay(against, Some(&other.name), &mut found)?;
        let noise = [self.allowed(against, layers, &common)?, other.allowed(against, layers, &common)?];
        let mut part = None;
        for site in self.sites() {
            let (Some(recorded), Some(want)) = (self.fit(site, against)?, other.fit(site, against)?) else {
                continue;
            };
            let allowed = |place| Some(noise[0](site, place)?.plus(noise[1](site, place)?));
            if !self.places().into_iter().any(|place| allowed(place).is_some()) {
                continue;
            }
            let verdict = self.apart(&recorded, (other, &want), against, &allowed)?;
            let finding = finding(site, "", Drive::Against(other.name.clone()), verdict);
            if finding.status() == Status::Failed && part.is_none() {
                part = Some(site);
            }
            found.add(whole().0, finding);
        }
        let coarser = if ulp(other.dtype) > ulp(self.dtype) { other.dtype } else { self.dtype };
        let outcomes = found.outcomes(checkpoints, coarser);
        Ok(Pair { outcomes, coverage, part, first_wrong: [replayed.first_wrong, theirs.first_wrong] })
    }

    fn same_prompt(&self, other: &Recording) -> Result<()> {
        let differs = |&(b, s): &Place| {
            other.input.ids.get(b).and_then(|row| row.get(s)) != Some(&self.input.ids[b][s])
        };
        let first = self.own_places().into_iter().find(differs);
        let same = self.length() == other.length()
            && self.own_places() == other.own_places()
            && self.cached == other.cached;
        match first {
            None if same => Ok(()),
            first => {
                let at =
                    first.map_or(String::new(), |(b, s)| format!(": they differ at position {s} of row {b}"));
                let hint = "record both with the same token ids: use --ids of the recorders";
                Err(Error::file(&self.name, format!("its prompt is not that of {}{at}", other.name), hint))
            }
        }
    }

    /// Is it known how far a correct run may be from the exact values?
    pub(super) fn knows_noise(&self, against: &Against<'_>) -> bool {
        against.weights.is_some() || against.case.is_some()
    }

    /// The error of a correct run in its dtype: computed from the weights if they are available; otherwise as
    /// the case measured it, but only at the rows it stores, because elsewhere its noise is that of the last
    /// rows only.
    pub(super) fn allowed<'n>(
        &'n self,
        against: &'n Against<'n>,
        layers: usize,
        sites: &BTreeSet<Site>,
    ) -> Result<Allowed<'n>> {
        if against.weights.is_some() {
            let measured = own_noise(self, against, layers, sites)?;
            return Ok(Box::new(move |site, place| {
                let computed = *measured.get(&site)?.get(&place)?;
                Some(self.saved.map_or(computed, |saved| computed.plus(saved.noise())))
            }));
        }
        let Some(case) = against.case else {
            let what = "it is unknown how far two correct runs may differ: there are neither weights nor a case of this prompt";
            return Err(Error::file(&self.name, what, "pass --model with the weights that were run"));
        };
        Ok(Box::new(move |site, place| {
            case.rows(site)?.places.binary_search(&place).ok()?;
            noise_of(case, against, Feed::Own, self, site, place)
        }))
    }

    /// Compares one tensor with the other recording's.
    pub(super) fn apart(
        &self,
        recorded: &SiteTensor,
        (other, want): (&Recording, &SiteTensor),
        against: &Against<'_>,
        noise: &dyn Fn(Place) -> Option<Noise>,
    ) -> Result<Compared> {
        let dims = |recorded: &SiteTensor| (recorded.shape().heads, recorded.shape().width);
        if dims(recorded) != dims(want) {
            let (got, want) = (recorded.tensor.dims().to_vec(), want.tensor.dims().to_vec());
            return Ok(Verdict::Shape { got, want }.into());
        }
        let places: Vec<Place> = self
            .places()
            .into_iter()
            .filter(|&p| recorded.holds(p) && want.holds(p) && noise(p).is_some())
            .collect();
        let rows = Rows::new(want.width(), want.rows(&places)?);
        let wanted: Vec<ExpectedRow<'_>> = places
            .iter()
            .enumerate()
            .map(|(r, &place)| ExpectedRow {
                place,
                query: place.1 - recorded.first,
                want: rows.row(r),
                noise: noise(place),
                entries: None,
            })
            .collect();
        let coarser = if ulp(other.dtype) > ulp(self.dtype) { other } else { self };
        let terms = against.terms(coarser, whole().1);
        let fine = terms.fine && self.saved.is_none() && other.saved.is_none();
        let columns = recorded.layout.columns(recorded.shape().width);
        let terms = Terms { fine, ..terms };
        compare_rows(&recorded.tensor, recorded.shape(), &wanted, &terms, columns.as_deref())
    }
}
