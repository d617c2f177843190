//! A dump → the outcome of every checkpoint, and what else is to be said of it.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::DType;

use super::Against;
use super::replayed::{self, Guilt, Replayed};
use super::truth::{self, finding, lower, misfit};
use crate::checkpoints::{Checkpoint, How, judge_of};
use crate::judge::{Drive, Finding, Outcome, Status, Verdict};
use crate::probe::{Kind, Site};
use crate::recording::{Held, Lookup, Recording};
use crate::reference::Feed;
use crate::{Error, Result};

/// What became of a dump.
#[derive(Debug)]
pub struct Judged {
    /// One a checkpoint, in their order.
    pub outcomes: Vec<Outcome>,
    /// Sites that the dump holds, and that a whole one would.
    pub coverage: Coverage,
    /// The first site whose values have left truth.
    pub left_truth: Option<Site>,
    /// The first operation that does not follow from its own inputs.
    pub guilty: Option<Guilt>,
    /// Sites that were recorded, and that nothing could be held against.
    pub unjudged: Vec<Site>,
}

/// Findings by checkpoint.
#[derive(Default)]
pub(super) struct Found(BTreeMap<&'static str, Vec<Finding>>);

impl Found {
    pub(super) fn add(&mut self, checkpoint: &Checkpoint, finding: Finding) {
        self.0.entry(checkpoint.id).or_default().push(finding);
    }

    /// Over a whole pass rounding may grow as large as the rows themselves. Replay speaks for such sites; how
    /// many there are is said.
    fn set_aside(&mut self, dtype: &str) -> Option<String> {
        let silent = |f: &Finding| f.verdict == Verdict::Incomparable;
        let spoken: BTreeSet<Site> =
            self.0.values().flatten().filter(|f| !silent(f)).filter_map(|f| f.site).collect();
        let of_passes = self.0.get_mut(whole().0.id)?;
        let before = of_passes.len();
        of_passes.retain(|f| !(silent(f) && f.site.is_some_and(|site| spoken.contains(&site))));
        match before - of_passes.len() {
            0 => None,
            1 => Some(format!(
                "1 site is no larger than {dtype}'s noise over a whole pass: judged by replay alone"
            )),
            n => Some(format!(
                "{n} sites are no larger than {dtype}'s noise over a whole pass: judged by replay alone"
            )),
        }
    }

    /// One a checkpoint; those about which nothing was found are skipped, and say why.
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
    /// Sites in the dump.
    pub held: usize,
    /// Sites that a pass of this model has, as far as its attention shows them.
    pub all: usize,
    /// Those that are not there, in forward order.
    pub missing: Vec<Site>,
}

/// The checkpoint of whole passes.
pub(super) fn whole() -> (&'static Checkpoint, f64) {
    judge_of(Kind::Logits)
}

impl Recording {
    /// How much of a model of `layers` layers it holds.
    pub fn coverage(&self, layers: usize) -> Coverage {
        let shown = |kind: &&Kind| !self.hides().contains(kind);
        let sites = Kind::ALL.iter().filter(shown).flat_map(|&kind| {
            if kind.in_layer() {
                (0..layers).map(|n| Site::layer(n, kind)).collect()
            } else {
                vec![Site::model(kind)]
            }
        });
        let all: BTreeSet<Site> = sites.collect();
        let held: BTreeSet<Site> = self.sites().collect();
        Coverage {
            held: all.intersection(&held).count(),
            all: all.len(),
            missing: all.difference(&held).copied().collect(),
        }
    }

    /// Judges it by `against`, as far as these checkpoints look at sites. With `complete` a site that is not
    /// there, or that nothing could be held against, is a failure, and no longer only said.
    ///
    /// # Errors
    /// A site of a layer that the model does not have; a dump that cannot be read to its end.
    pub fn judge(
        &self,
        against: &Against<'_>,
        checkpoints: &[&'static Checkpoint],
        complete: bool,
    ) -> Result<Judged> {
        let layers = self.layers(against)?;
        let coverage = self.coverage(layers);
        let mut found = Found::default();
        let left_truth = self.by_truth(against, &mut found)?;
        let replayed = self.by_replay(against, None, &mut found)?;
        let seen = |site: &Site| found.0.values().flatten().any(|finding| finding.site == Some(*site));
        let unjudged: Vec<Site> = replayed.unjudged.into_iter().filter(|site| !seen(site)).collect();
        if complete {
            let missing = coverage.missing.iter().map(|&site| (site, Verdict::NeverReached));
            for (site, verdict) in missing.chain(unjudged.iter().map(|&site| (site, Verdict::Incomparable))) {
                found.add(judge_of(site.kind).0, finding(site, "", Drive::Recorded, verdict.into()));
            }
        }
        let (outcomes, guilty) = (found.outcomes(checkpoints, self.dtype), replayed.guilty);
        Ok(Judged { outcomes, coverage, left_truth, guilty, unjudged })
    }

    /// Every site against stored truth; gives the first that has left it.
    fn by_truth(&self, against: &Against<'_>, found: &mut Found) -> Result<Option<Site>> {
        let alone = self.alone()?;
        let mut left = None;
        for site in self.sites() {
            let ((checkpoint, factor), feed) = match alone {
                Some(given) if given == site => (judge_of(site.kind), Feed::Site),
                // What it was fed is truth, and nobody's work.
                Some(_) => continue,
                None => (whole(), Feed::Own),
            };
            let Some(held) = self.fit(site, against)? else { continue };
            if let Some(finding) = truth::judge(self, &held, against, feed, factor)? {
                if finding.status() == Status::Failed && left.is_none() {
                    left = Some(site);
                }
                found.add(checkpoint, finding);
            }
        }
        Ok(left)
    }

    /// What is wrong with tensors before their values are looked at, then every operation again. `of` is this
    /// recording's name where there are two.
    pub(super) fn by_replay(
        &self,
        against: &Against<'_>,
        of: Option<&str>,
        found: &mut Found,
    ) -> Result<Replayed> {
        for site in self.sites() {
            let verdict = match self.held(site, against.config)? {
                Lookup::Misfit(why) => Some(misfit(why)),
                Lookup::Held(held) => lower(self, &held),
                Lookup::Absent => None,
            };
            if let Some(verdict) = verdict {
                found.add(judge_of(site.kind).0, finding(site, "", Drive::Recorded, verdict.into()));
            }
        }
        let mut replayed = replayed::replay(self, against, self.layers(against)?, of)?;
        for finding in std::mem::take(&mut replayed.findings) {
            let Some(site) = finding.site else { continue };
            found.add(judge_of(site.kind).0, finding);
        }
        Ok(replayed)
    }

    /// The tensor at `site`, where it is what it should be but for its values.
    pub(crate) fn fit(&self, site: Site, against: &Against<'_>) -> Result<Option<Held>> {
        match self.held(site, against.config)? {
            Lookup::Held(held) if lower(self, &held).is_none() => Ok(Some(held)),
            Lookup::Held(_) | Lookup::Misfit(_) | Lookup::Absent => Ok(None),
        }
    }

    /// The layers of the model, or as many as the dump has where nobody knows.
    pub(super) fn layers(&self, against: &Against<'_>) -> Result<usize> {
        let vocabulary = against.config.map(|config| config.vocab_size);
        let seen = self.sites().filter_map(|site| site.layer).max().map_or(0, |layer| usize::from(layer) + 1);
        match against.config.map(|config| config.num_hidden_layers) {
            _ if against.config.is_some_and(|config| self.length() > config.max_position_embeddings) => {
                let what = format!("it has {} positions, more than this model's context", self.length());
                Err(Error::file(&self.name, what, "is it a dump of this model? --model names another"))
            }
            _ if self
                .input
                .ids
                .iter()
                .flatten()
                .any(|&id| vocabulary.is_some_and(|size| id as usize >= size)) =>
            {
                let what = "it has token ids past the end of this model's vocabulary";
                Err(Error::file(&self.name, what, "is it a dump of this model? --model names another"))
            }
            Some(layers) if seen > layers => {
                let what = format!("it has a layer {}, the model ends at {}", seen - 1, layers - 1);
                Err(Error::file(&self.name, what, "is it a dump of this model? --model names another"))
            }
            Some(layers) => Ok(layers),
            None => Ok(seen),
        }
    }
}

fn why_skipped(checkpoint: &Checkpoint) -> String {
    match checkpoint.how {
        How::Tokens(..) | How::Sites(..) => "none of its sites was recorded, or could be judged".into(),
        How::Weights | How::Laws(_) | How::Sampling | How::Greedy(_) => {
            "not seen in a dump, which is one pass".into()
        }
    }
}
