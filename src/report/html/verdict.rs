//! The verdict of a run: a headline, the table of checkpoints, and details of each failure.

use serde::Serialize;

use super::level::{self, share};
use super::run::PageInput;
use crate::checkpoints;
use crate::judge::{Finding, Outcome, Status, Verdict};
use crate::report::detail::{budgets, describe};
use crate::report::text::{all, place, reasons, word, wrong};

/// The CSS class for a status, which selects its colour and mark.
fn tone(status: Status) -> &'static str {
    match status {
        Status::Passed => "pass",
        Status::Own => "own",
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
    /// The site named at the end of the title.
    site: Option<String>,
    lead: String,
    culprits: Option<Culprits>,
}

/// The mistakes that explain the first failing site.
#[derive(Debug, Serialize)]
pub struct Culprits {
    named: Vec<Culprit>,
    /// The next best mistake and its distance.
    next: Option<(String, String)>,
}

#[derive(Debug, Serialize)]
pub struct Culprit {
    mistake: String,
    says: String,
    fix: String,
    /// How well it reproduces the tensor; `None` if an exact fingerprint names it.
    residual: Option<String>,
}

/// The earliest failing site in the order of the forward pass, or the first other failure if no site failed.
pub fn first_failed(outcomes: &[Outcome]) -> Option<(&Outcome, &Finding)> {
    let all =
        || outcomes.iter().flat_map(|outcome| outcome.failures().map(move |finding| (outcome, finding)));
    let site = all().filter(|(_, f)| f.site.is_some()).min_by_key(|(_, f)| f.site);
    site.or_else(|| all().next())
}

pub fn head(run: &PageInput<'_>) -> Head {
    let count = |status| run.outcomes.iter().filter(|outcome| outcome.status() == status).count();
    let (passed, total) = (count(Status::Passed), run.outcomes.len());
    let others = [
        (passed, "passed"),
        (count(Status::Own), "agree with the project's own oracle only"),
        (count(Status::Failed), "failed"),
        (count(Status::NotJudged), "could not be judged"),
        (count(Status::Expected), "failed as expected"),
        (count(Status::Skipped), "skipped"),
    ];
    let counts: Vec<String> =
        others.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    let summary =
        format!("Of {total} checkpoint{}: {}.", if total == 1 { "" } else { "s" }, counts.join(", "));
    let stale = run.report.stale_expectations.len();
    if let Some((outcome, finding)) = first_failed(run.outcomes) {
        let checkpoint = outcome.checkpoint;
        let (title, site) = match finding.site {
            Some(_) => ("First wrong at".to_owned(), Some(finding.about.clone())),
            None => (format!("{} {}: wrong", checkpoint.id, checkpoint.name), Some(finding.about.clone())),
        };
        let lead = format!(
            "Checkpoint {} {} is the first in the forward pass that differs from the PyTorch reference. {summary}",
            checkpoint.id, checkpoint.name
        );
        return Head { tone: "fail", title, site, lead, culprits: culprits(outcome, finding) };
    }
    let plain = |tone, title: String, lead| Head { tone, title, site: None, lead, culprits: None };
    if stale > 0 {
        let lead = format!("{summary} A failure that rbees-check.toml expects no longer happens.");
        return plain("fail", "An expected failure passes".into(), lead);
    }
    if count(Status::NotJudged) > 0 || passed + count(Status::Own) + count(Status::Expected) == 0 {
        return plain("void", "Not everything could be judged".into(), summary);
    }
    if count(Status::Own) > 0 {
        let lead = format!(
            "{summary} PyTorch computed no references for this model, so a mistake of this program's reader of weights would not show."
        );
        return plain("own", "Nothing differs from the project's own oracle".into(), lead);
    }
    let title = if total == checkpoints::ALL.len() && passed == total {
        format!("All {total} checkpoints pass")
    } else if total == 1 {
        "The only checkpoint that was run passes".into()
    } else if passed == total {
        format!("The {total} checkpoints that were run pass")
    } else {
        "No unexpected failures".into()
    };
    plain("pass", title, nearest(run.outcomes).unwrap_or(summary))
}

/// A sentence about the passing site that came closest to its budget.
fn nearest(outcomes: &[Outcome]) -> Option<String> {
    let shares = outcomes.iter().filter_map(|outcome| outcome.worst().map(|finding| (outcome, finding)));
    let of = |finding: &Finding| if let Verdict::Pass(share) = finding.verdict { share } else { 0.0 };
    let (outcome, finding) = shares.max_by(|a, b| of(a.1).total_cmp(&of(b.1)))?;
    let checkpoint = outcome.checkpoint;
    Some(format!(
        "Nothing differs from PyTorch by more than {} of the allowed rounding error. The largest difference is at {} {}, {}.",
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
        residual: (named.residual > 0.0).then(|| level::in_words(named.residual)),
    });
    let next = looked.and_then(|d| d.runner_up.as_ref());
    Some(Culprits {
        named: named.collect(),
        next: next.map(|next| (next.mistake.to_owned(), budgets(next.residual))),
    })
}

/// One checkpoint in the table.
#[derive(Debug, Serialize)]
pub struct Row {
    id: &'static str,
    name: &'static str,
    judges: &'static str,
    tone: &'static str,
    word: &'static str,
    /// How much was compared, or how much of it is wrong.
    summary: String,
    /// The largest share of a budget, as text and as the length of a bar in percent.
    share: Option<(String, f64)>,
    worst: Option<String>,
    notes: Vec<String>,
}

pub fn rows(outcomes: &[Outcome]) -> Vec<Row> {
    outcomes.iter().map(row).collect()
}

fn row(outcome: &Outcome) -> Row {
    let status = outcome.status();
    let summary = match status {
        Status::Passed | Status::Own => all(outcome),
        Status::Failed => format!("{} wrong", wrong(outcome, Status::Failed)),
        Status::Expected => {
            format!("{} wrong, as expected: {}", wrong(outcome, Status::Expected), reasons(outcome))
        }
        Status::NotJudged => "could not judge".into(),
        Status::Skipped => outcome.skipped.clone().unwrap_or_default(),
    };
    // Distributions have budgets too, although they are not sites.
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
        summary,
        share: worst.map(|(share, _)| (level::in_words(share), (share * 100.0).clamp(0.0, 100.0).round())),
        worst: worst.filter(|(share, _)| *share > 0.0).map(|(_, finding)| place(finding)),
        notes: outcome.notes.clone(),
    }
}

/// One checkpoint that failed or could not be judged.
#[derive(Debug, Serialize)]
pub struct Trouble {
    id: &'static str,
    name: &'static str,
    tone: &'static str,
    place: String,
    lines: Vec<(&'static str, String)>,
    others: Vec<String>,
    /// How many comparisons are not listed.
    more: usize,
}

/// How many findings of one checkpoint are listed after the first.
const LISTED: usize = 40;

/// Every checkpoint that failed or could not be judged.
pub fn troubles(run: &PageInput<'_>) -> Vec<Trouble> {
    let failed = run.outcomes.iter().filter(|o| matches!(o.status(), Status::Failed | Status::NotJudged));
    failed
        .filter_map(|outcome| {
            let status = outcome.status();
            let mut failed: Vec<&Finding> =
                outcome.findings.iter().filter(|f| f.status() == status).collect();
            failed.sort_by_key(|f| f.site.map_or((0, None), |site| (1, Some(site))));
            let (first, others) = failed.split_first()?;
            let other = |finding: &&Finding| match share(finding) {
                Some(share) => format!("{}: {}", place(finding), level::in_words(share)),
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

/// Commands to run next: a description and the command line.
pub fn commands(run: &PageInput<'_>) -> Vec<(String, String)> {
    let PageInput { command, flags, .. } = run;
    let mut commands = vec![("Rerun everything".to_owned(), (*command).to_owned())];
    if let Some((outcome, _)) = first_failed(run.outcomes) {
        let id = outcome.checkpoint.id;
        commands
            .push((format!("Checkpoint {id} alone, every site"), format!("rbees-check run {id}{flags} -vv")));
        commands
            .push((format!("What {id} checks, and common mistakes"), format!("rbees-check explain {id}")));
        for named in outcome.named() {
            let mistake = named.mistake;
            commands.push((format!("About {mistake}"), format!("rbees-check explain {mistake}")));
        }
    }
    commands.push(("Save this run as JSON".into(), format!("{command} --report json=report.json")));
    commands.push(("Compare with the saved run".into(), format!("{command} --baseline report.json")));
    commands
}
