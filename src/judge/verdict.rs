//! Verdicts on sites, and outcomes of checkpoints.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use super::drive::Drive;
use crate::Result;
use crate::checkpoints::Checkpoint;
use crate::compare::{Difference, Shares};
use crate::diagnose::{Diagnosis, Named};
use crate::files::{Name, float, name};
use crate::probe::Site;

/// The verdict on one site or one fact.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum Verdict {
    /// Within budget, with the share that was used; 0 if equality was required and found.
    Pass(#[serde(with = "float")] f64),
    /// Over its budget.
    Differs(Box<Difference>),
    /// The tensor does not have the expected shape.
    Shape {
        /// The shape that the model handed over.
        got: Vec<usize>,
        /// The shape of the reference.
        want: Vec<usize>,
    },
    /// The tensor has less precision than the run.
    LowerPrecision {
        /// The tensor's dtype.
        #[serde(deserialize_with = "name")]
        got: Name,
        /// The run's dtype.
        #[serde(deserialize_with = "name")]
        want: Name,
    },
    /// The budget is larger than the tensor's own values, so any value would pass.
    TooWide {
        /// How many rows have such a budget.
        rows: usize,
    },
    /// No row could be judged in this dtype, because every budget is larger than its row's scale.
    Incomparable,
    /// A reference is stored, but the model never handed the site over.
    NeverReached,
    /// A reference is stored, but no checkpoint judges it; or a tensor has no reference.
    Unclaimed,
    /// A law or an exact fact does not hold; the text says how, in one line.
    Broken(String),
}

/// The status of a finding or a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Everything matches.
    Passed,
    /// Everything matches, but references of the project's own oracle, which is weaker: one author made both
    /// sides.
    Own,
    /// Not run; the reason is printed.
    Skipped,
    /// Something differs, as expected.
    Expected,
    /// It was run but nothing could be concluded. This is an error, never a pass.
    NotJudged,
    /// Something differs or was never reached.
    Failed,
}

impl Verdict {
    /// The status that this verdict leads to.
    pub fn status(&self) -> Status {
        match self {
            Verdict::Pass(_) => Status::Passed,
            Verdict::Incomparable => Status::NotJudged,
            Verdict::Differs(_)
            | Verdict::Shape { .. }
            | Verdict::LowerPrecision { .. }
            | Verdict::TooWide { .. }
            | Verdict::NeverReached
            | Verdict::Unclaimed
            | Verdict::Broken(_) => Status::Failed,
        }
    }
}

/// One verdict with its subject.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Finding {
    /// The name of the site, tensor, text, law, distribution or prompt.
    pub about: String,
    /// The site, if the finding is about one.
    pub site: Option<Site>,
    /// The case; empty if the model as a whole is judged.
    pub case: String,
    /// How the model was run.
    pub drive: Drive,
    /// The verdict.
    pub verdict: Verdict,
    /// Rows left out because noise in this dtype is as large as the row itself.
    pub incomparable: usize,
    /// Why it is expected to fail, if the user has said so.
    pub expected: Option<String>,
    /// The diagnosis, if one was made.
    pub explained: Option<Diagnosis>,
    /// Why the diagnosis failed, if it did.
    pub unexplained: Option<String>,
    /// Whether the reference comes from the project's own oracle.
    pub own: bool,
    /// How much of its budget each row used, if a tensor was compared in one piece.
    pub shares: Option<Shares>,
}

impl Finding {
    /// A finding about a fact of the model as a whole.
    pub fn new(about: impl Into<String>, verdict: Verdict) -> Self {
        Self {
            about: about.into(),
            site: None,
            case: String::new(),
            drive: Drive::Nothing,
            verdict,
            incomparable: 0,
            expected: None,
            explained: None,
            unexplained: None,
            own: false,
            shares: None,
        }
    }

    /// The status of its verdict; a known failure counts as expected, and a pass against the project's own oracle
    /// as `Own`.
    pub fn status(&self) -> Status {
        match self.verdict.status() {
            Status::Passed if self.own => Status::Own,
            Status::Failed if self.expected.is_some() => Status::Expected,
            status => status,
        }
    }

    /// Stores the diagnosis, or why it failed.
    pub(crate) fn set_explanation(&mut self, explained: Result<Option<Diagnosis>>) {
        match explained {
            Ok(explained) => self.explained = explained,
            Err(error) => self.unexplained = Some(error.to_string()),
        }
    }

    /// A port that returns an error during a forward pass has failed; this is a verdict, not an error of the
    /// harness.
    pub(crate) fn stopped(error: impl Display, case: &str, drive: Drive) -> Self {
        let verdict = Verdict::Broken(format!("the port returned an error: {error}"));
        Self { case: case.to_owned(), drive, ..Self::new("forward", verdict) }
    }

    /// Like [`Finding::new`], with the mistake that explains it, if there is one.
    pub fn explained(about: impl Into<String>, verdict: Verdict, named: Option<Named>) -> Self {
        let explained = named.map(Diagnosis::from);
        Self { explained, ..Self::new(about, verdict) }
    }
}

/// The result of one checkpoint.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The checkpoint.
    pub checkpoint: &'static Checkpoint,
    /// Every comparison.
    pub findings: Vec<Finding>,
    /// Why it was not run, if it was skipped.
    pub skipped: Option<String>,
    /// Notes for the reader: sites that a path cannot show, the number of decisive steps.
    pub notes: Vec<String>,
}

impl Outcome {
    /// Adds a note for each failure that could not be diagnosed, once per reason.
    pub(crate) fn note_unexplained(&mut self) {
        let mut reasons: Vec<(&str, &str)> = Vec::new();
        for finding in &self.findings {
            if let Some(reason) = &finding.unexplained
                && reasons.iter().all(|(_, known)| known != reason)
            {
                reasons.push((&finding.about, reason));
            }
        }
        let notes = reasons.into_iter().map(|(about, why)| format!("{about} could not be diagnosed: {why}"));
        let notes: Vec<String> = notes.collect();
        self.notes.extend(notes);
    }

    /// The worst status of its findings. A checkpoint without findings has judged nothing, so it does not
    /// pass.
    pub fn status(&self) -> Status {
        if self.skipped.is_some() {
            return Status::Skipped;
        }
        self.findings.iter().map(Finding::status).max().unwrap_or(Status::NotJudged)
    }

    /// The finding with the largest share of a budget among those that passed.
    pub fn worst(&self) -> Option<&Finding> {
        let share = |f: &&Finding| if let Verdict::Pass(ratio) = f.verdict { ratio } else { -1.0 };
        self.findings.iter().filter(|f| share(f) >= 0.0).max_by(|a, b| share(a).total_cmp(&share(b)))
    }

    /// The mistakes that explain the failures, in forward order, each once. If one mistake explains all
    /// diagnosed failures of one kind of site, only that one is named. Otherwise, for example if two layers
    /// have two different mistakes, each layer's own mistakes are named unless an earlier mistake explains
    /// it.
    pub fn named(&self) -> Vec<&Named> {
        let mut explained: Vec<(&Finding, &Diagnosis)> = self
            .failures()
            .filter_map(|f| Some((f, f.explained.as_ref().filter(|d| !d.named.is_empty())?)))
            .collect();
        explained.sort_by_key(|(f, _)| f.site);
        // What only the tensors show does not count where the catalogue explains the same kind of site.
        let kind = |f: &Finding| f.site.map(|site| site.kind);
        let catalogued: Vec<_> =
            explained.iter().filter(|(_, d)| d.is_catalogued()).map(|(f, _)| kind(f)).collect();
        explained.retain(|(f, d)| d.is_catalogued() || !catalogued.contains(&kind(f)));
        let mut all: Vec<&Named> = Vec::new();
        for (finding, diagnosis) in &explained {
            let alike = |same: &dyn Fn(&Finding) -> bool| -> Vec<&Diagnosis> {
                explained.iter().filter(|(f, _)| f.site.is_some() && same(f)).map(|(_, d)| *d).collect()
            };
            let (of_kind, of_site) =
                (alike(&|f| kind(f) == kind(finding)), alike(&|f| f.site == finding.site));
            let in_all = |ds: &[&Diagnosis], named: &Named| ds.iter().all(|d| has(&d.named, named.mistake));
            let common = of_kind.first().is_none_or(|d| d.named.iter().any(|named| in_all(&of_kind, named)));
            let already_named = all.iter().any(|known| has(&diagnosis.named, known.mistake));
            if !common && already_named {
                continue;
            }
            let alike = if common { &of_kind } else { &of_site };
            // One site may have several explanations with the same name, for example two values of θ.
            let new = diagnosis.named.iter().filter(|named| in_all(alike, named));
            let new: Vec<&Named> =
                new.filter(|named| !all.iter().any(|other| other.mistake == named.mistake)).collect();
            all.extend(new);
        }
        all
    }

    /// The unexpected failures, in the order in which they were judged.
    pub fn failures(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|f| f.status() == Status::Failed)
    }
}

fn has(named: &[Named], mistake: &str) -> bool {
    named.iter().any(|other| other.mistake == mistake)
}
