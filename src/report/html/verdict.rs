//! What a run says: in one line, in a table, and at length where something is wrong.

use serde::Serialize;

use super::level::{self, share};
use super::run::Run;
use crate::checkpoints;
use crate::judge::{Finding, Outcome, Status, Verdict};
use crate::report::detail::{budgets, describe};
use crate::report::text::{all, place, reasons, word, wrong};

/// How it went, to be coloured and marked.
fn tone(status: Status) -> &'static str {
    match status {
        Status::Passed => "pass",
        Status::Failed => "fail",
        Status::Skipped => "skip",
        Status::Expected => "known",
        Status::NotJudged => "void",
    }
}

/// The top of the page.
#[derive(Debug, Serialize)]
pub struct Head {
    tone: &'static str,
    title: String,
    /// The site that the title ends in.
    site: Option<String>,
    lead: String,
    culprits: Option<Culprits>,
}

/// The mistakes that explain the first red site.
#[derive(Debug, Serialize)]
pub struct Culprits {
    named: Vec<Culprit>,
    /// The next best, and how far away it is.
    next: Option<(String, String)>,
}

#[derive(Debug, Serialize)]
pub struct Culprit {
    mistake: String,
    says: String,
    fix: String,
    /// How well it reproduces the tensor; none where it is named by an exact fingerprint.
    residual: Option<String>,
}

/// The earliest wrong site in the order of the forward pass; where no site is, the first thing that is.
pub fn first_red(outcomes: &[Outcome]) -> Option<(&Outcome, &Finding)> {
    let all =
        || outcomes.iter().flat_map(|outcome| outcome.failures().map(move |finding| (outcome, finding)));
    let site = all().filter(|(_, f)| f.site.is_some()).min_by_key(|(_, f)| f.site);
    site.or_else(|| all().next())
}

pub fn head(run: &Run<'_>) -> Head {
    let count = |status| run.outcomes.iter().filter(|outcome| outcome.status() == status).count();
    let (passed, total) = (count(Status::Passed), run.outcomes.len());
    let others = [
        (passed, "passed"),
        (count(Status::Failed), "failed"),
        (count(Status::NotJudged), "could not be judged"),
        (count(Status::Expected), "failed as expected"),
        (count(Status::Skipped), "skipped"),
    ];
    let said: Vec<String> =
        others.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    let said = format!("Of {total} checkpoint{}: {}.", if total == 1 { "" } else { "s" }, said.join(", "));
    let stale = run.report.stale_expectations.len();
    if let Some((outcome, finding)) = first_red(run.outcomes) {
        let checkpoint = outcome.checkpoint;
        let (title, site) = match finding.site {
            Some(_) => ("First wrong at".to_owned(), Some(finding.about.clone())),
            None => (format!("{} {}: wrong", checkpoint.id, checkpoint.name), Some(finding.about.clone())),
        };
        let lead = format!(
            "Checkpoint {} {} is the first in the forward pass that is not as PyTorch computes it. {said}",
            checkpoint.id, checkpoint.name
        );
        return Head { tone: "fail", title, site, lead, culprits: culprits(outcome, finding) };
    }
    let plain = |tone, title: String, lead| Head { tone, title, site: None, lead, culprits: None };
    if stale > 0 {
        let lead = format!("{said} What rbees-check.toml expects to fail no longer does.");
        return plain("fail", "An expected failure passes".into(), lead);
    }
    if count(Status::NotJudged) > 0 || passed + count(Status::Expected) == 0 {
        return plain("void", "Not everything could be judged".into(), said);
    }
    let title = if total == checkpoints::ALL.len() && passed == total {
        format!("All {total} checkpoints pass")
    } else if total == 1 {
        "The one checkpoint that was run passes".into()
    } else if passed == total {
        format!("The {total} checkpoints that were run pass")
    } else {
        "Nothing is wrong that was not expected to be".into()
    };
    plain("pass", title, nearest(run.outcomes).unwrap_or(said))
}

/// Who came nearest to failing.
fn nearest(outcomes: &[Outcome]) -> Option<String> {
    let shares = outcomes.iter().filter_map(|outcome| outcome.worst().map(|finding| (outcome, finding)));
    let of = |finding: &Finding| if let Verdict::Pass(share) = finding.verdict { share } else { 0.0 };
    let (outcome, finding) = shares.max_by(|a, b| of(a.1).total_cmp(&of(b.1)))?;
    let checkpoint = outcome.checkpoint;
    Some(format!(
        "Nothing differs from PyTorch by more than {} of what an honest computation may: {} {}, {}.",
        level::label(of(finding)),
        checkpoint.id,
        checkpoint.name,
        place(finding)
    ))
}

fn culprits(outcome: &Outcome, finding: &Finding) -> Option<Culprits> {
    let named = outcome.named();
    let looked = finding.explained.as_ref();
    if named.is_empty() && looked.is_none() {
        return None;
    }
    let named = named.into_iter().map(|named| Culprit {
        mistake: named.mistake.into(),
        says: named.says.clone(),
        fix: named.fix.clone(),
        residual: (named.residual > 0.0).then(|| level::said(named.residual)),
    });
    let next = looked.and_then(|d| d.runner_up.as_ref());
    Some(Culprits {
        named: named.collect(),
        next: next.map(|next| (next.mistake.to_owned(), budgets(next.residual))),
    })
}

/// A checkpoint in the table.
#[derive(Debug, Serialize)]
pub struct Row {
    id: &'static str,
    name: &'static str,
    judges: &'static str,
    tone: &'static str,
    word: &'static str,
    /// How much was compared, or how much of it is wrong.
    said: String,
    /// The worst share of a budget, in words and as the length of a bar in percent.
    share: Option<(String, f64)>,
    worst: Option<String>,
    notes: Vec<String>,
}

pub fn rows(outcomes: &[Outcome]) -> Vec<Row> {
    outcomes.iter().map(row).collect()
}

fn row(outcome: &Outcome) -> Row {
    let status = outcome.status();
    let said = match status {
        Status::Passed => all(outcome),
        Status::Failed => format!("{} wrong", wrong(outcome, Status::Failed)),
        Status::Expected => {
            format!("{} wrong, as expected: {}", wrong(outcome, Status::Expected), reasons(outcome))
        }
        Status::NotJudged => "could not judge".into(),
        Status::Skipped => outcome.skipped.clone().unwrap_or_default(),
    };
    // Distributions have budgets too, though they are no sites.
    let of = |finding: &Finding| match finding.verdict {
        Verdict::Pass(share) => Some(share),
        _ => share(finding),
    };
    let shares = outcome.findings.iter().filter(|finding| finding.status() == status);
    let shares = shares.filter_map(|finding| Some((of(finding)?, finding)));
    let worst = shares.max_by(|a, b| a.0.total_cmp(&b.0));
    let checkpoint = outcome.checkpoint;
    Row {
        id: checkpoint.id,
        name: checkpoint.name,
        judges: checkpoint.judges,
        tone: tone(status),
        word: word(status),
        said,
        share: worst.map(|(share, _)| (level::said(share), (share * 100.0).clamp(0.0, 100.0).round())),
        worst: worst.filter(|(share, _)| *share > 0.0).map(|(_, finding)| place(finding)),
        notes: outcome.notes.clone(),
    }
}

/// One checkpoint that is not as it should be.
#[derive(Debug, Serialize)]
pub struct Trouble {
    id: &'static str,
    name: &'static str,
    tone: &'static str,
    place: String,
    lines: Vec<(&'static str, String)>,
    others: Vec<String>,
    /// Comparisons that are not listed.
    more: usize,
}

/// Findings of one checkpoint that are listed beside the first.
const LISTED: usize = 40;

/// Everything that failed or could not be judged, a checkpoint each.
pub fn troubles(run: &Run<'_>) -> Vec<Trouble> {
    let red = run.outcomes.iter().filter(|o| matches!(o.status(), Status::Failed | Status::NotJudged));
    red.filter_map(|outcome| {
        let status = outcome.status();
        let mut red: Vec<&Finding> = outcome.findings.iter().filter(|f| f.status() == status).collect();
        red.sort_by_key(|f| f.site.map_or((0, None), |site| (1, Some(site))));
        let (first, others) = red.split_first()?;
        let other = |finding: &&Finding| match share(finding) {
            Some(share) => format!("{}: {}", place(finding), level::said(share)),
            None => place(finding),
        };
        Some(Trouble {
            id: outcome.checkpoint.id,
            name: outcome.checkpoint.name,
            tone: tone(status),
            place: place(first),
            lines: describe(&first.verdict),
            others: others.iter().take(LISTED).map(other).collect(),
            more: others.len().saturating_sub(LISTED),
        })
    })
    .collect()
}

/// What to type: what it does, and the line.
pub fn commands(run: &Run<'_>) -> Vec<(String, String)> {
    let Run { command, flags, .. } = run;
    let mut commands = vec![("This run again".to_owned(), (*command).to_owned())];
    if let Some((outcome, _)) = first_red(run.outcomes) {
        let id = outcome.checkpoint.id;
        commands
            .push((format!("Checkpoint {id} alone, every site"), format!("rbees-check run {id}{flags} -vv")));
        commands
            .push((format!("What {id} judges, and where ports trip"), format!("rbees-check explain {id}")));
        for named in outcome.named() {
            let mistake = named.mistake;
            commands.push((format!("About {mistake}"), format!("rbees-check explain {mistake}")));
        }
    }
    commands.push(("The same as data".into(), format!("{command} --report json=report.json")));
    commands.push(("What has changed since".into(), format!("{command} --baseline report.json")));
    commands
}
