//! Compares what a port handed over under each feed with a case.

use std::collections::BTreeSet;

use super::kinds::short;
use super::runs::Runs;
use crate::Result;
use crate::checkpoints::{self, Checkpoint};
use crate::judge::{Drive, Finding, Outcome, Status, Traits, Verdict, judge_sites};
use crate::probe::{Kind, Site};
use crate::recording::RecordedPort;
use crate::reference::{Feed, Reference};
use crate::weights::Weights;

/// A wrong site, and the feed under which it is wrong.
type Wrong = (Site, Feed);

/// The recordings, and what they are compared with.
pub(super) struct Judging<'a> {
    pub case: &'a Reference,
    pub traits: &'a Traits,
    pub runs: &'a Runs,
}

impl Judging<'_> {
    /// Every checkpoint that one forward pass can check, and the first wrong site with its feed.
    pub fn outcomes(&self, explain: Option<(&Weights, Wrong)>) -> Result<(Vec<Outcome>, Option<Wrong>)> {
        let (mut outcomes, mut first) = (Vec::new(), None);
        for checkpoint in checkpoints::ALL.into_iter().filter(|checkpoint| !checkpoint.views().is_empty()) {
            let mut outcome = Outcome { checkpoint, findings: vec![], skipped: None, notes: vec![] };
            for (kind, feed) in self.looks(checkpoint) {
                let weights = explain
                    .filter(|&(_, (site, at))| feed == Feed::Site || (site.kind, at) == (kind, feed))
                    .map(|(weights, _)| weights);
                let findings = self.look(kind, feed, checkpoint.factor().unwrap_or(0.0), weights)?;
                let wrong = findings.iter().filter(|f| f.status() == Status::Failed).filter_map(|f| f.site);
                first = wrong.map(|site| (site, feed)).chain(first).min();
                outcome.findings.extend(findings);
            }
            self.ends(&mut outcome);
            outcome.note_unexplained();
            outcomes.push(outcome);
        }
        Ok((outcomes, first))
    }

    /// Findings at the sites of one kind under one feed.
    pub fn look(
        &self,
        kind: Kind,
        feed: Feed,
        factor: f64,
        weights: Option<&Weights>,
    ) -> Result<Vec<Finding>> {
        let run = match feed {
            Feed::Own => Some(&self.runs.own),
            Feed::Block => self.runs.block.as_ref(),
            Feed::Site => self.runs.site.as_ref(),
        };
        let run = run.unwrap_or(&self.runs.own);
        let factor = |other| (other == kind).then_some(factor);
        let mut replay = RecordedPort::new(&run.tape.recording, None, self.traits.clone());
        let mut findings = judge_sites(&mut replay, self.case, feed, &factor, weights)?;
        if run.stopped.is_some() {
            // An error of the port is reported as a separate finding; see `ends`.
            findings.retain(|finding| finding.verdict != Verdict::NeverReached);
        }
        Ok(findings)
    }

    /// What a checkpoint judges in this port: each kind that is handed over, under the feed that isolates it
    /// best.
    fn looks(&self, checkpoint: &Checkpoint) -> Vec<(Kind, Feed)> {
        let mut looks: Vec<(Kind, Feed)> = Vec::new();
        for view in checkpoint.views() {
            for &kind in view.kinds.iter().filter(|&&kind| self.runs.own.shows(kind)) {
                let purest = match view.feed {
                    Feed::Site if self.runs.site.is_some() && self.reaches(kind) => Feed::Site,
                    Feed::Site | Feed::Block if self.runs.block.is_some() => Feed::Block,
                    _ => Feed::Own,
                };
                if !looks.contains(&(kind, purest)) {
                    looks.push((kind, purest));
                }
            }
        }
        looks
    }

    /// Do reference inputs enter right before this operation? A fused attention does not show scores and
    /// probabilities, and takes the reference's q, k and v instead.
    fn reaches(&self, kind: Kind) -> bool {
        let fused = |&kind: &Kind| {
            matches!(kind, Kind::Scores | Kind::Probs) && !self.runs.own.shows(kind) && self.reaches(kind)
        };
        self.traits.kinds.inputs(kind).iter().all(|input| match input {
            Kind::Block => [Kind::Block, Kind::Embed].iter().all(|&kind| self.runs.own.takes(kind)),
            input => self.runs.own.takes(*input) || fused(input),
        })
    }

    /// Adds the errors of the port, which belong to the whole forward pass, and a note about kinds that were
    /// not handed over.
    fn ends(&self, outcome: &mut Outcome) {
        let Runs { own, block, site } = self.runs;
        let runs = [(Feed::Own, Some(own)), (Feed::Site, site.as_ref()), (Feed::Block, block.as_ref())];
        let whole = outcome.checkpoint.views().iter().any(|view| view.feed == Feed::Own);
        for (feed, run) in runs.into_iter().filter(|_| whole) {
            if let Some(error) = run.and_then(|run| run.stopped.as_ref()) {
                let drive = Drive::Prefill(self.traits.path, feed);
                outcome.findings.push(Finding::stopped(error, &self.case.manifest.case, drive));
            }
        }
        let kinds: BTreeSet<Kind> =
            outcome.checkpoint.views().iter().flat_map(|v| v.kinds).copied().collect();
        let absent = kinds.into_iter().filter(|&kind| stores(self.case, kind) && !own.shows(kind));
        let absent: Vec<&str> = absent.map(short).collect();
        match (outcome.findings.is_empty(), absent.is_empty()) {
            (_, false) => {
                let note = format!("not handed over: {}", absent.join(", "));
                if outcome.findings.is_empty() {
                    outcome.skipped = Some(note)
                } else {
                    outcome.notes.push(note)
                }
            }
            (true, true) => {
                outcome.skipped =
                    Some(format!("{} stores no reference for this checkpoint", self.case.manifest.case));
            }
            (false, true) => {}
        }
    }
}

/// Does the case store references of this kind?
pub(super) fn stores(case: &Reference, kind: Kind) -> bool {
    case.sites().any(|site| site.kind == kind)
}
