//! A dump → the outcome of every checkpoint, and what else is to be said of it.

use std::collections::{BTreeMap, BTreeSet};

use super::truth::{self, finding, lower, misfit};
use super::{Against, Dump, Guilt, replay};
use crate::checkpoints::{self, Checkpoint, How};
use crate::judge::{Finding, Outcome, Status, Verdict};
use crate::probe::{Kind, Site};
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
    /// Sites that were recorded and could not be computed again: their inputs, or weights, are missing.
    pub unreplayed: Vec<Site>,
}

/// Findings by checkpoint.
#[derive(Default)]
struct Found(BTreeMap<&'static str, Vec<Finding>>);

impl Found {
    fn add(&mut self, checkpoint: &Checkpoint, finding: Finding) {
        self.0.entry(checkpoint.id).or_default().push(finding);
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

/// The checkpoint that judges a kind of site on clean inputs, and how many times it allows the noise.
pub(super) fn judge_of(kind: Kind) -> (&'static Checkpoint, f64) {
    let judges = |c: &&Checkpoint| c.views().iter().any(|v| v.feed == Feed::Site && v.kinds.contains(&kind));
    let found = checkpoints::ALL.into_iter().find(judges).map(|checkpoint| match &checkpoint.how {
        How::Tokens(_, factor) | How::Sites(_, factor) | How::Laws(factor) => (checkpoint, factor.times),
        _ => (checkpoint, 1.0),
    });
    found.expect("every kind of site is judged by a checkpoint: a test of theirs says so")
}

/// The checkpoint of whole passes.
fn whole() -> (&'static Checkpoint, f64) {
    judge_of(Kind::Logits)
}

impl Dump {
    /// How much of a model of `layers` layers it holds.
    pub fn coverage(&self, layers: usize) -> Coverage {
        let shown = |kind: &&Kind| !self.hides().contains(kind);
        let sites = Kind::ALL.iter().filter(shown).flat_map(|&kind| match kind.in_layer() {
            true => (0..layers).map(|n| Site::layer(n, kind)).collect(),
            false => vec![Site::model(kind)],
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
    /// there is never reached, and no longer only said not to be judged.
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
        let alone = self.alone()?;
        let mut found = Found::default();
        let mut left_truth = None;
        for site in self.sites() {
            let (judges, _) = judge_of(site.kind);
            let held = match self.held(site, against.config)? {
                None => continue,
                Some(Err(why)) => {
                    found.add(judges, finding(site, "", "recorded", misfit(why).into()));
                    continue;
                }
                Some(Ok(held)) => held,
            };
            if let Some(verdict) = lower(self, &held) {
                found.add(judges, finding(site, "", "recorded", verdict.into()));
                continue;
            }
            let ((judges, factor), feed) = match alone {
                Some(given) if given == site => (judge_of(site.kind), Feed::Site),
                // What it was fed is truth, and nobody's work.
                Some(_) => continue,
                None => (whole(), Feed::Own),
            };
            if let Some(finding) = truth::judge(self, &held, against, feed, factor)? {
                if finding.status() == Status::Failed && left_truth.is_none() {
                    left_truth = Some(site);
                }
                found.add(judges, finding);
            }
        }
        let held = |site: Site| Ok(self.held(site, against.config)?.and_then(std::result::Result::ok));
        let replayed = replay::replay(self, against, layers, &held)?;
        for finding in replayed.findings {
            if let Some(site) = finding.site {
                found.add(judge_of(site.kind).0, finding);
            }
        }
        if complete {
            for &site in &coverage.missing {
                let never = finding(site, "", "recorded", Verdict::NeverReached.into());
                found.add(judge_of(site.kind).0, never);
            }
        }
        let outcomes = checkpoints.iter().map(|&checkpoint| {
            let findings = found.0.remove(checkpoint.id).unwrap_or_default();
            let skipped = findings.is_empty().then(|| why_skipped(checkpoint));
            Outcome { checkpoint, findings, skipped, notes: vec![] }
        });
        Ok(Judged {
            outcomes: outcomes.collect(),
            coverage,
            left_truth,
            guilty: replayed.guilty,
            unreplayed: replayed.unjudged,
        })
    }

    /// The layers of the model, or as many as the dump has where nobody knows.
    fn layers(&self, against: &Against<'_>) -> Result<usize> {
        let seen = self.sites().filter_map(|site| site.layer).max().map_or(0, |layer| usize::from(layer) + 1);
        match against.config.map(|config| config.num_hidden_layers) {
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
        How::Tokens(..) | How::Sites(..) => "none of its sites could be judged".into(),
        _ => "not seen in a dump, which is one pass".into(),
    }
}
