//! What became of each checkpoint, and of everything it judged, as JSON.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Number, Suspects, Verdict};
use crate::judge::{self, Outcome, Status};
use crate::report::detail::describe;

/// What became of one checkpoint.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Checkpoint {
    /// `01B`.
    pub id: String,
    /// `rope`.
    pub name: String,
    /// The worst of its findings.
    pub status: Standing,
    /// The largest share of a budget among what passed; none where nothing passed.
    pub worst_share: Option<Number>,
    /// What a reader should know: what a path cannot show, decisive steps.
    pub notes: Vec<String>,
    /// Why it was not run, if it was not.
    pub skipped: Option<String>,
    /// Everything that was judged.
    pub findings: Vec<Finding>,
}

/// One comparison.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Finding {
    /// The site, or the name of the tensor, text, law, distribution or prompt.
    pub about: String,
    /// The site, if it is one.
    pub site: Option<String>,
    /// The case; none where the model as a whole is judged.
    pub case: Option<String>,
    /// How the model was driven: `plain, feed site`.
    pub drive: Option<String>,
    /// What became of it, in a word.
    pub status: Standing,
    /// Why it was expected to fail, where it was, and did.
    pub expected: Option<String>,
    /// Rows left out: their noise in this dtype is as large as they are.
    pub incomparable_rows: usize,
    /// What became of it.
    pub verdict: Verdict,
    /// The same for people, one line each; empty where it passed.
    pub text: Vec<String>,
    /// What mistakes explain it, where they were asked: where it is red on true inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspects: Option<Suspects>,
}

/// The status of a finding or a checkpoint.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It agrees.
    Passed,
    /// It was not run.
    Skipped,
    /// It differs, and was expected to.
    Expected,
    /// It was run and nothing can be said.
    NotJudged,
    /// It differs, or was never reached.
    Failed,
}

impl From<Status> for Standing {
    fn from(status: Status) -> Self {
        match status {
            Status::Passed => Self::Passed,
            Status::Skipped => Self::Skipped,
            Status::Expected => Self::Expected,
            Status::NotJudged => Self::NotJudged,
            Status::Failed => Self::Failed,
        }
    }
}

/// An expected failure that passes.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct StaleExpectation {
    /// The file and line that expects it.
    pub origin: String,
    /// The checkpoint.
    pub checkpoint: String,
    /// What should fail there, if not anything.
    pub site: Option<String>,
    /// The case, if not any.
    pub case: Option<String>,
    /// Why it was expected to fail.
    pub reason: String,
}

impl fmt::Display for StaleExpectation {
    /// One line: `rbees-check.toml:7: 01B was expected to fail (upstream bug), and passes`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, checkpoint, site, case, reason } = self;
        write!(f, "{origin}: {checkpoint}")?;
        site.iter().try_for_each(|site| write!(f, " {site}"))?;
        case.iter().try_for_each(|case| write!(f, " in case {case}"))?;
        write!(f, " was expected to fail ({reason}), and passes")
    }
}

/// How many checkpoints have which status.
#[allow(missing_docs, reason = "the names of the statuses")]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Summary {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
    pub not_judged: usize,
    pub expected: usize,
}

impl Summary {
    /// Counts them.
    pub fn of(checkpoints: &[Checkpoint]) -> Self {
        let count = |standing| checkpoints.iter().filter(|c| c.status == standing).count();
        Self {
            passed: count(Standing::Passed),
            failed: count(Standing::Failed),
            skipped: count(Standing::Skipped),
            not_judged: count(Standing::NotJudged),
            expected: count(Standing::Expected),
        }
    }
}

impl Checkpoint {
    /// What became of `outcome`'s checkpoint.
    pub fn of(outcome: &Outcome) -> Self {
        let share = |finding: &judge::Finding| match finding.verdict {
            judge::Verdict::Pass(share) => Some(Number(share)),
            _ => None,
        };
        Self {
            id: outcome.checkpoint.id.into(),
            name: outcome.checkpoint.name.into(),
            status: outcome.status().into(),
            worst_share: outcome.worst().and_then(share),
            notes: outcome.notes.clone(),
            skipped: outcome.skipped.clone(),
            findings: outcome.findings.iter().map(Finding::of).collect(),
        }
    }
}

impl Finding {
    /// The same as JSON.
    pub fn of(finding: &judge::Finding) -> Self {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let text = match finding.verdict {
            judge::Verdict::Pass(_) => vec![],
            _ => describe(&finding.verdict)
                .into_iter()
                .map(|(label, said)| format!("{label}: {said}"))
                .collect(),
        };
        Self {
            about: finding.about.clone(),
            site: finding.site.map(|site| site.to_string()),
            case: given(&finding.case),
            drive: given(&finding.drive.to_string()),
            status: finding.status().into(),
            expected: finding.expected.clone(),
            incomparable_rows: finding.incomparable,
            verdict: Verdict::of(&finding.verdict),
            text,
            suspects: finding.explained.as_ref().map(Suspects::of),
        }
    }
}
