//! Judges a recording: the outcome of every checkpoint, and further results.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::DType;

use super::Against;
use super::positions;
use super::reference::{self, finding, lower, misfit};
use super::replayed::{self, FirstWrong, Replayed};
use super::unrecorded;
use crate::checkpoints::{Checkpoint, How, judge_of};
use crate::graph;
use crate::judge::{Drive, Finding, Outcome, Status, Verdict};
use crate::probe::{Kind, Kinds, Site};
use crate::recording::{Lookup, Recording, SiteTensor};
use crate::reference::Feed;
use crate::{Error, Result};

/// The result of judging a recording.
#[derive(Debug)]
pub struct Judged {
    /// The outcome of each checkpoint, in their order.
    pub outcomes: Vec<Outcome>,
    /// How many of the model's sites the recording contains.
    pub coverage: Coverage,
    /// The first site that differs from the reference.
    pub first_difference: Option<Site>,
    /// The first operation whose output is wrong given its own inputs.
    pub first_wrong: Option<FirstWrong>,
    /// Sites that were recorded but not checked.
    pub unjudged: Vec<Site>,
}

/// Findings by checkpoint.
#[derive(Default)]
pub(super) struct Found(BTreeMap<&'static str, Vec<Finding>>);

impl Found {
    pub(super) fn add(&mut self, checkpoint: &Checkpoint, finding: Finding) {
        self.0.entry(checkpoint.id).or_default().push(finding);
    }

    /// Over a whole pass, rounding may grow as large as the rows themselves. Such sites are judged by replay
    /// only; this removes them from the findings and returns a note with their number.
    fn set_aside(&mut self, dtype: &str) -> Option<String> {
        let inconclusive = |f: &Finding| f.verdict == Verdict::Incomparable;
        let judged: BTreeSet<Site> =
            self.0.values().flatten().filter(|f| !inconclusive(f)).filter_map(|f| f.site).collect();
        let of_passes = self.0.get_mut(whole().0.id)?;
        let before = of_passes.len();
        of_passes.retain(|f| !(inconclusive(f) && f.site.is_some_and(|site| judged.contains(&site))));
        match before - of_passes.len() {
            0 => None,
            1 => Some(format!(
                "1 site is no larger than the noise of {dtype} over a whole pass, so it was judged by replay only"
            )),
            n => Some(format!(
                "{n} sites are no larger than the noise of {dtype} over a whole pass, so they were judged by replay only"
            )),
        }
    }

    /// One outcome per checkpoint; a checkpoint without findings is skipped, with the reason.
    pub(super) fn outcomes(mut self, checkpoints: &[&'static Checkpoint], dtype: DType) -> Vec<Outcome> {
        let aside = self.set_aside(dtype.as_str());
        let outcome = |&checkpoint: &&'static Checkpoint| {
            let findings = self.0.remove(checkpoint.id).unwrap_or_default();
            let skipped = findings.is_empty().then(|| why_skipped(checkpoint));
            let notes = aside.iter().filter(|_| checkpoint == whole().0).cloned().collect();
            let mut outcome = Outcome { checkpoint, findings, skipped, notes };
            outcome.note_unexplained();
            outcome
        };
        checkpoints.iter().map(outcome).collect()
    }
}

/// How much of a pass was recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Coverage {
    /// Number of sites in the recording.
    pub recorded: usize,
    /// Number of sites in a pass of this model, without those that its attention does not compute.
    pub all: usize,
    /// The missing sites, in forward order.
    pub missing: Vec<Site>,
}

/// The checkpoint for whole passes, and its factor.
pub(super) fn whole() -> (&'static Checkpoint, f64) {
    judge_of(Kind::Logits)
}

impl Recording {
    /// How many sites of a model with `layers` layers and these kinds of site the recording contains.
    pub fn coverage(&self, layers: usize, kinds: Kinds) -> Coverage {
        let shown = |kind: &Kind| !self.hides().contains(kind);
        let sites = kinds.iter().filter(shown).flat_map(|kind| {
            if kind.in_layer() {
                (0..layers).map(|n| Site::layer(n, kind)).collect()
            } else {
                vec![Site::model(kind)]
            }
        });
        let all: BTreeSet<Site> = sites.collect();
        let recorded: BTreeSet<Site> = self.sites().collect();
        Coverage {
            recorded: all.intersection(&recorded).count(),
            all: all.len(),
            missing: all.difference(&recorded).copied().collect(),
        }
    }

    /// Judges the recording against `against`, for the checkpoints that judge sites. With `complete`, a site
    /// that is missing or could not be checked is a failure instead of a note.
    ///
    /// # Errors
    /// A site belongs to a layer that the model does not have, or the recording cannot be read completely.
    pub fn judge(
        &self,
        against: &Against<'_>,
        checkpoints: &[&'static Checkpoint],
        complete: bool,
    ) -> Result<Judged> {
        let layers = self.layers(against)?;
        let coverage = self.coverage(layers, self.kinds(against)?);
        let mut found = Found::default();
        let first_difference = self.by_reference(against, &mut found)?;
        let replayed = self.by_replay(against, None, &mut found)?;
        if let Some(unrecorded) = unrecorded::compare(self, against)? {
            found.add(whole().0, unrecorded);
        }
        let seen = |site: &Site| found.0.values().flatten().any(|finding| finding.site == Some(*site));
        let unjudged: Vec<Site> = replayed.unjudged.into_iter().filter(|site| !seen(site)).collect();
        if complete {
            let missing = coverage.missing.iter().map(|&site| (site, Verdict::NeverReached));
            for (site, verdict) in missing.chain(unjudged.iter().map(|&site| (site, Verdict::Incomparable))) {
                found.add(judge_of(site.kind).0, finding(site, "", Drive::Recorded, verdict.into()));
            }
        }
        let (outcomes, first_wrong) = (found.outcomes(checkpoints, self.dtype), replayed.first_wrong);
        Ok(Judged { outcomes, coverage, first_difference, first_wrong, unjudged })
    }

    /// Compares every site with the stored reference; returns the first one that differs.
    fn by_reference(&self, against: &Against<'_>, found: &mut Found) -> Result<Option<Site>> {
        let alone = self.alone()?;
        let mut first = None;
        for site in self.sites() {
            let ((checkpoint, factor), feed) = match alone {
                Some(given) if given == site => (judge_of(site.kind), Feed::Site),
                // Its inputs are reference values, so there is nothing to judge.
                Some(_) => continue,
                None => (whole(), Feed::Own),
            };
            let Some(recorded) = self.fit(site, against)? else { continue };
            if let Some(finding) = reference::compare_with_reference(self, &recorded, against, feed, factor)?
            {
                if finding.status() == Status::Failed && first.is_none() {
                    first = Some(site);
                }
                found.add(checkpoint, finding);
            }
        }
        Ok(first)
    }

    /// Reports tensors with a wrong shape or dtype, then replays every operation. `of` is the name of this
    /// recording, if there are two.
    pub(super) fn by_replay(
        &self,
        against: &Against<'_>,
        of: Option<&str>,
        found: &mut Found,
    ) -> Result<Replayed> {
        if let Some((checkpoint, wrong)) = positions::wrong(self, of) {
            found.add(checkpoint, wrong);
        }
        for site in self.sites() {
            let verdict = match self.lookup(site, against.config)? {
                // They have an entry for each cached key too.
                Lookup::Misfit(_) if self.reads_a_cache() && site.kind.over_keys() => None,
                Lookup::Misfit(why) => Some(misfit(why)),
                Lookup::Tensor(recorded) => lower(self, &recorded),
                Lookup::Absent => None,
            };
            if let Some(verdict) = verdict {
                found.add(judge_of(site.kind).0, finding(site, "", Drive::Recorded, verdict.into()));
            }
        }
        let mut replayed = replayed::replay(self, against, self.layers(against)?, of)?;
        for finding in std::mem::take(&mut replayed.activations) {
            found.add(judge_of(Kind::Act).0, finding);
        }
        for finding in std::mem::take(&mut replayed.findings) {
            let Some(site) = finding.site else { continue };
            found.add(judge_of(site.kind).0, finding);
        }
        Ok(replayed)
    }

    /// The tensor at `site`, if its shape and dtype are right.
    pub(crate) fn fit(&self, site: Site, against: &Against<'_>) -> Result<Option<SiteTensor>> {
        match self.lookup(site, against.config)? {
            Lookup::Tensor(recorded) if lower(self, &recorded).is_none() => Ok(Some(recorded)),
            Lookup::Tensor(_) | Lookup::Misfit(_) | Lookup::Absent => Ok(None),
        }
    }

    /// silu(gate) of a layer, if it was recorded and its shape and dtype are right.
    pub(crate) fn fit_activation(&self, layer: u16, against: &Against<'_>) -> Result<Option<SiteTensor>> {
        match self.activation(layer, against.config)? {
            Lookup::Tensor(recorded) if lower(self, &recorded).is_none() => Ok(Some(recorded)),
            Lookup::Tensor(_) | Lookup::Misfit(_) | Lookup::Absent => Ok(None),
        }
    }

    /// The kinds of site of the model; if it is unknown, those of a Llama and those that were recorded.
    pub(super) fn kinds(&self, against: &Against<'_>) -> Result<Kinds> {
        if let Some(config) = against.config {
            return Ok(graph::of(config)?.kinds());
        }
        let recorded = self.sites().map(|site| site.kind);
        let kinds: Kinds = Kinds::LLAMA.iter().chain(recorded).collect();
        Ok(if kinds.norms_branches() { kinds.without(Kind::PostNormInput) } else { kinds })
    }

    /// The number of layers of the model, or of the recording if the model is unknown.
    pub(super) fn layers(&self, against: &Against<'_>) -> Result<usize> {
        let vocabulary = against.config.map(|config| config.vocab_size);
        let seen = self.sites().filter_map(|site| site.layer).max().map_or(0, |layer| usize::from(layer) + 1);
        match against.config.map(|config| config.num_hidden_layers) {
            _ if against.config.is_some_and(|config| self.slots() > config.max_position_embeddings) => {
                let what =
                    format!("it has {} positions, which is more than this model's context", self.slots());
                Err(Error::file(
                    &self.name,
                    what,
                    "check that it is a recording of this model; --model selects another",
                ))
            }
            _ if self
                .input
                .ids
                .iter()
                .flatten()
                .any(|&id| vocabulary.is_some_and(|size| id as usize >= size)) =>
            {
                let what = "it has token ids outside this model's vocabulary";
                Err(Error::file(
                    &self.name,
                    what,
                    "check that it is a recording of this model; --model selects another",
                ))
            }
            Some(layers) if seen > layers => {
                let what =
                    format!("it has a layer {}, but the model's last layer is {}", seen - 1, layers - 1);
                Err(Error::file(
                    &self.name,
                    what,
                    "check that it is a recording of this model; --model selects another",
                ))
            }
            Some(layers) => Ok(layers),
            None => Ok(seen),
        }
    }
}

fn why_skipped(checkpoint: &Checkpoint) -> String {
    match checkpoint.how {
        How::Tokens(..) | How::Sites(..) => "none of its sites was recorded, or none could be judged".into(),
        How::Weights | How::Laws(_) | How::Sampling | How::Greedy(_) => {
            "a recording is one pass and cannot show this".into()
        }
    }
}
