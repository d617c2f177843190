//! The result of each checkpoint and of all its comparisons, as JSON.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Number, Suspects, Verdict};
use crate::judge::{self, Outcome, Status};
use crate::report::detail::describe;

/// The result of one checkpoint.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Checkpoint {
    /// `01B`.
    pub id: String,
    /// `rope`.
    pub name: String,
    /// The worst of its findings.
    pub status: Standing,
    /// The largest share of a budget among passing findings; `None` if nothing passed.
    pub worst_share: Option<Number>,
    /// Notes for the reader: sites that a path cannot show, the number of decisive steps.
    pub notes: Vec<String>,
    /// Why it was not run, if it was skipped.
    pub skipped: Option<String>,
    /// Everything that was judged.
    pub findings: Vec<Finding>,
}

/// One comparison.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Finding {
    /// The site, or the name of the tensor, text, law, distribution or prompt.
    pub about: String,
    /// The site, if the comparison is about one.
    pub site: Option<String>,
    /// The case; `None` if the model as a whole is judged.
    pub case: Option<String>,
    /// How the model was run: `plain, feed site`.
    pub drive: Option<String>,
    /// Its status.
    pub status: Standing,
    /// Why it was expected to fail, if it was and did.
    pub expected: Option<String>,
    /// Rows left out because their noise in this dtype is as large as their values.
    pub incomparable_rows: usize,
    /// Its verdict.
    pub verdict: Verdict,
    /// The verdict as text, one line each; empty if it passed.
    pub text: Vec<String>,
    /// The mistakes that explain it, if it fails on reference inputs and was diagnosed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspects: Option<Suspects>,
}

/// The status of a finding or a checkpoint.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It agrees.
    Passed,
    /// It agrees with the project's own oracle, not with PyTorch.
    Own,
    /// It was not run.
    Skipped,
    /// It differs, as expected.
    Expected,
    /// It was run, but nothing could be concluded.
    NotJudged,
    /// It differs, or was never reached.
    Failed,
}

impl From<Status> for Standing {
    fn from(status: Status) -> Self {
        match status {
            Status::Passed => Self::Passed,
            Status::Own => Self::Own,
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
    /// The file and line of the expectation.
    pub origin: String,
    /// The checkpoint.
    pub checkpoint: String,
    /// The site that should fail; `None` for any.
    pub site: Option<String>,
    /// The case that should fail; `None` for any.
    pub case: Option<String>,
    /// Why it was expected to fail.
    pub reason: String,
}

impl fmt::Display for StaleExpectation {
    /// One line: `rbees-check.toml:7: 01B was expected to fail (upstream bug), but passes`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, checkpoint, site, case, reason } = self;
        write!(f, "{origin}: {checkpoint}")?;
        site.iter().try_for_each(|site| write!(f, " {site}"))?;
        case.iter().try_for_each(|case| write!(f, " in case {case}"))?;
        write!(f, " was expected to fail ({reason}), but passes")
    }
}

/// How many checkpoints have each status.
#[allow(missing_docs, reason = "the names of the statuses")]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Summary {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
    pub not_judged: usize,
    pub expected: usize,
    #[serde(default, skip_serializing_if = "none")]
    pub own: usize,
}

fn none(count: &usize) -> bool {
    *count == 0
}

impl Summary {
    /// Counts the statuses of these checkpoints.
    pub fn of(checkpoints: &[Checkpoint]) -> Self {
        let count = |standing| checkpoints.iter().filter(|c| c.status == standing).count();
        Self {
            passed: count(Standing::Passed),
            failed: count(Standing::Failed),
            skipped: count(Standing::Skipped),
            not_judged: count(Standing::NotJudged),
            expected: count(Standing::Expected),
            own: count(Standing::Own),
        }
    }
}

impl Checkpoint {
    /// The result of `outcome`'s checkpoint.
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
    /// The same finding as JSON.
    pub fn of(finding: &judge::Finding) -> Self {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let text = match finding.verdict {
            judge::Verdict::Pass(_) => vec![],
            _ => describe(&finding.verdict)
                .into_iter()
                .map(|(label, text)| format!("{label}: {text}"))
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
