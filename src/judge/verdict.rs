//! What became of a site, and of a checkpoint.

use std::fmt::Display;

use super::drive::Drive;
use crate::Result;
use crate::checkpoints::Checkpoint;
use crate::compare::{Difference, Shares};
use crate::diagnose::{Diagnosis, Named};
use crate::probe::Site;

/// What became of one site, or of one fact.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Within budget, at this share of it; 0 where equality was demanded and found.
    Pass(f64),
    /// Past its budget.
    Differs(Box<Difference>),
    /// Not the tensor that was to be judged.
    Shape {
        /// What the model handed over.
        got: Vec<usize>,
        /// What the reference holds.
        want: Vec<usize>,
    },
    /// A tensor of less precision than the run's.
    LowerPrecision {
        /// Its dtype.
        got: &'static str,
        /// The run's.
        want: &'static str,
    },
    /// Budgets past the tensor's own scale: whatever the tensor holds would pass.
    TooWide {
        /// Rows whose budget is too wide.
        rows: usize,
    },
    /// Not one row could be judged in this dtype: every budget is past its row's scale.
    Incomparable,
    /// A reference is stored, and the model never handed the site over.
    NeverReached,
    /// A reference is stored, and no checkpoint judges it.
    Unclaimed,
    /// A law or an exact fact does not hold: how, in one line.
    Broken(String),
}

/// Passing, failing, or neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// All of it agrees.
    Passed,
    /// Not run, for a reason that is printed.
    Skipped,
    /// Something differs, and was expected to.
    Expected,
    /// It was run and nothing can be said: an error, never a pass.
    NotJudged,
    /// Something differs or was never reached.
    Failed,
}

impl Verdict {
    /// Passing, failing, or neither.
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

/// One verdict and what it is about.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The site's name, or that of the tensor, text, distribution or prompt.
    pub about: String,
    /// The site, if it is one.
    pub site: Option<Site>,
    /// The case, empty where the model as a whole is judged.
    pub case: String,
    /// How the model was driven.
    pub drive: Drive,
    /// What became of it.
    pub verdict: Verdict,
    /// Rows left out because noise in this dtype is as large as the row itself.
    pub incomparable: usize,
    /// Why it is known to fail, where the user has said so.
    pub expected: Option<String>,
    /// What is thought of it, if it was looked into.
    pub explained: Option<Diagnosis>,
    /// Why it could not be looked into, where that was tried.
    pub unexplained: Option<String>,
    /// How much of its budget each row used, where a tensor was compared in one piece.
    pub shares: Option<Shares>,
}

impl Finding {
    /// About a fact of the model as a whole.
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
            shares: None,
        }
    }

    /// That of its verdict; a failure that is known is an expected one.
    pub fn status(&self) -> Status {
        match self.verdict.status() {
            Status::Failed if self.expected.is_some() => Status::Expected,
            status => status,
        }
    }

    /// Keeps what explains it, or why that could not be found out.
    pub(crate) fn set_explanation(&mut self, explained: Result<Option<Diagnosis>>) {
        match explained {
            Ok(explained) => self.explained = explained,
            Err(error) => self.unexplained = Some(error.to_string()),
        }
    }

    /// A port that stops where it should compute has failed: that is a verdict.
    pub(crate) fn stopped(error: impl Display, case: &str, drive: Drive) -> Self {
        let verdict = Verdict::Broken(format!("the port stops: {error}"));
        Self { case: case.to_owned(), drive, ..Self::new("forward", verdict) }
    }

    /// As [`Finding::new`], with the mistake that explains it, if one does.
    pub fn explained(about: impl Into<String>, verdict: Verdict, named: Option<Named>) -> Self {
        let explained = named.map(|named| Diagnosis { named: vec![named], runner_up: None });
        Self { explained, ..Self::new(about, verdict) }
    }
}

/// What became of one checkpoint.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The checkpoint.
    pub checkpoint: &'static Checkpoint,
    /// Everything that was judged.
    pub findings: Vec<Finding>,
    /// Why it was not run, if it was not.
    pub skipped: Option<String>,
    /// What a reader of the line should know: what a path cannot show, decisive steps.
    pub notes: Vec<String>,
}

impl Outcome {
    /// Adds a note for each failure that could not be looked into, once for each reason.
    pub(crate) fn note_unexplained(&mut self) {
        let mut reasons: Vec<(&str, &str)> = Vec::new();
        for finding in &self.findings {
            if let Some(reason) = &finding.unexplained
                && reasons.iter().all(|(_, known)| known != reason)
            {
                reasons.push((&finding.about, reason));
            }
        }
        let notes = reasons.into_iter().map(|(about, why)| format!("{about} could not be explained: {why}"));
        let notes: Vec<String> = notes.collect();
        self.notes.extend(notes);
    }

    /// The worst of its findings. Without any, nothing was judged, and that is no pass.
    pub fn status(&self) -> Status {
        if self.skipped.is_some() {
            return Status::Skipped;
        }
        self.findings.iter().map(Finding::status).max().unwrap_or(Status::NotJudged)
    }

    /// The largest share of a budget among what passed.
    pub fn worst(&self) -> Option<&Finding> {
        let share = |f: &&Finding| if let Verdict::Pass(ratio) = f.verdict { ratio } else { -1.0 };
        self.findings.iter().filter(|f| share(f) >= 0.0).max_by(|a, b| share(a).total_cmp(&share(b)))
    }

    /// The mistakes that explain what failed, in forward order, each once. Of one kind of site a mistake
    /// that explains all that could be explained is enough; where there is none, as when two layers have two
    /// mistakes, each layer's own are named that no mistake before it explains.
    pub fn named(&self) -> Vec<&Named> {
        let mut explained: Vec<(&Finding, &Diagnosis)> = self
            .failures()
            .filter_map(|f| Some((f, f.explained.as_ref().filter(|d| !d.named.is_empty())?)))
            .collect();
        explained.sort_by_key(|(f, _)| f.site);
        let mut all: Vec<&Named> = Vec::new();
        for (finding, diagnosis) in &explained {
            let kind = |f: &Finding| f.site.map(|site| site.kind);
            let alike = |same: &dyn Fn(&Finding) -> bool| -> Vec<&Diagnosis> {
                explained.iter().filter(|(f, _)| f.site.is_some() && same(f)).map(|(_, d)| *d).collect()
            };
            let (of_kind, of_site) =
                (alike(&|f| kind(f) == kind(finding)), alike(&|f| f.site == finding.site));
            let in_all = |ds: &[&Diagnosis], named: &Named| ds.iter().all(|d| has(&d.named, named.mistake));
            let common = of_kind.first().is_none_or(|d| d.named.iter().any(|named| in_all(&of_kind, named)));
            let told = all.iter().any(|known| has(&diagnosis.named, known.mistake));
            if !common && told {
                continue;
            }
            let alike = if common { &of_kind } else { &of_site };
            for named in diagnosis.named.iter().filter(|named| in_all(alike, named)) {
                if !all.iter().any(|other| other.mistake == named.mistake) {
                    all.push(named);
                }
            }
        }
        all
    }

    /// What failed and was not expected to, in the order in which it was judged.
    pub fn failures(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|f| f.status() == Status::Failed)
    }
}

fn has(named: &[Named], mistake: &str) -> bool {
    named.iter().any(|other| other.mistake == mistake)
}
