//! Verdicts as text: one line per checkpoint, one paragraph per failure, one summary line.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::checkpoints::How;
use crate::files::one_line;
use crate::judge::{Finding, Outcome, Status, Verdict};

/// `PASS  01B rope          8 sites     11% of budget`.
pub fn line(outcome: &Outcome) -> String {
    let checkpoint = outcome.checkpoint;
    let head = format!("{:<5} {:<3} {:<12}", word(outcome.status()), checkpoint.id, checkpoint.name);
    let tail = match outcome.status() {
        Status::Passed | Status::Own => format!("{:<24} {}", all(outcome), margin(outcome)),
        Status::Failed => match wrong(outcome, Status::Expected).as_str() {
            "" => format!("{} wrong", wrong(outcome, Status::Failed)),
            known => format!("{} wrong; {known} as expected", wrong(outcome, Status::Failed)),
        },
        Status::Expected => {
            format!("{} wrong, as expected: {}", wrong(outcome, Status::Expected), reasons(outcome))
        }
        Status::NotJudged => "could not judge".to_owned(),
        Status::Skipped => one_line(outcome.skipped.as_deref().unwrap_or_default()),
    };
    format!("{head} {tail}")
}

pub(super) fn word(status: Status) -> &'static str {
    match status {
        Status::Passed => "PASS",
        Status::Own => "OWN",
        Status::Failed => "FAIL",
        Status::Skipped => "SKIP",
        Status::Expected => "XFAIL",
        Status::NotJudged => "INCONCLUSIVE",
    }
}

/// How many different things the findings are about, and how many of those have this status, with their noun.
fn counts(outcome: &Outcome, status: Status) -> Vec<(usize, usize, &'static str)> {
    let noun = match outcome.checkpoint.how {
        How::Weights => "fact",
        How::Tokens(..) => "text",
        How::Laws(_) | How::Sites(..) => "law",
        How::Sampling => "distribution",
        How::Greedy(_) => "prompt",
    };
    let count = |of_site: bool, noun| {
        let about = |only: bool| {
            let all = outcome.findings.iter().filter(move |f| f.site.is_some() == of_site);
            let chosen = all.filter(move |f| !only || f.status() == status);
            chosen.map(|f| &f.about).collect::<BTreeSet<_>>().len()
        };
        (about(true), about(false), noun)
    };
    [count(false, noun), count(true, "site")].into_iter().filter(|(_, all, _)| *all > 0).collect()
}

/// `44 texts, 1 site`.
pub(super) fn all(outcome: &Outcome) -> String {
    let counts = counts(outcome, Status::Passed);
    let parts = counts.into_iter().map(|(_, all, noun)| format!("{all} {noun}{}", plural(all)));
    parts.collect::<Vec<_>>().join(", ")
}

/// `2 of 55 texts, 1 of 1 site`: how many have `status`. A noun with none is left out.
pub(super) fn wrong(outcome: &Outcome, status: Status) -> String {
    let wrong = counts(outcome, status).into_iter().filter(|(wrong, ..)| *wrong > 0);
    let parts = wrong.map(|(wrong, all, noun)| format!("{wrong} of {all} {noun}{}", plural(all)));
    parts.collect::<Vec<_>>().join(", ")
}

/// The reasons why failures were expected, each once.
pub(super) fn reasons(outcome: &Outcome) -> String {
    let reasons: BTreeSet<&str> = outcome.findings.iter().filter_map(|f| f.expected.as_deref()).collect();
    one_line(&reasons.into_iter().collect::<Vec<_>>().join("; "))
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

/// The largest share of a budget that was used.
fn margin(outcome: &Outcome) -> String {
    match outcome.worst().map(|f| &f.verdict) {
        Some(Verdict::Pass(0.0)) | None => "exact".to_owned(),
        Some(Verdict::Pass(share)) => percent(*share),
        Some(_) => String::new(),
    }
}

pub(super) fn percent(share: f64) -> String {
    if share < 0.01 { "under 1% of budget".to_owned() } else { format!("{:.0}% of budget", share * 100.0) }
}

/// Details of a line: the worst site of a pass, rows that were left out, and notes.
pub fn verbose(outcome: &Outcome) -> String {
    let mut text = String::new();
    if let Some(worst) = outcome.worst()
        && let Verdict::Pass(share) = worst.verdict
        && share > 0.0
    {
        let _ = writeln!(text, "      worst  {:.1}% at {}", share * 100.0, place(worst));
    }
    let left_out: usize = outcome.findings.iter().map(|f| f.incomparable).sum();
    if left_out > 0 {
        let _ = writeln!(
            text,
            "      note   {left_out} rows were not judged: their values are no larger than the rounding noise in this dtype"
        );
    }
    for note in &outcome.notes {
        let _ = writeln!(text, "      note   {}", one_line(note));
    }
    text
}

/// `model.layers.0.self_attn.q_rope (short; plain, feed site)`.
pub(super) fn place(finding: &Finding) -> String {
    let drive = finding.drive.to_string();
    let drive = [finding.case.as_str(), drive.as_str()].into_iter().filter(|s| !s.is_empty());
    match drive.collect::<Vec<_>>().join("; ").as_str() {
        "" => one_line(&finding.about),
        drive => one_line(&format!("{} ({drive})", finding.about)),
    }
}

/// One comparison on one line: `PASS    8.1%  model.layers.0.self_attn.q_rope (short; plain, feed
/// site)`.
pub fn finding(finding: &Finding) -> String {
    let share = match finding.verdict {
        Verdict::Pass(0.0) => "exact".to_owned(),
        Verdict::Pass(share) => format!("{:.1}%", share * 100.0),
        _ => String::new(),
    };
    format!("{:<5} {share:>6}  {}", word(finding.status()), place(finding))
}

/// The earliest failing site in the order of the forward pass: where to look first.
pub fn first_wrong(outcomes: &[Outcome]) -> Option<String> {
    let sites = outcomes.iter().flat_map(|o| o.failures().filter_map(move |f| Some((f.site?, o.checkpoint))));
    let (site, checkpoint) = sites.min_by_key(|(site, _)| *site)?;
    Some(format!("first wrong in the forward pass: {site} ({} {})", checkpoint.id, checkpoint.name))
}

/// The last line: `checkpoints: 12 passed, 0 failed, 0 skipped`, followed by the number of checkpoints that agree
/// only with the project's own oracle, those not judged, those expected to fail, and stale expectations, if there are any.
pub fn summary(outcomes: &[Outcome], stale: usize) -> String {
    let count = |status| outcomes.iter().filter(|o| o.status() == status).count();
    let (passed, failed, skipped) = (count(Status::Passed), count(Status::Failed), count(Status::Skipped));
    let any = |n: usize, what: &str| if n == 0 { String::new() } else { format!(", {n} {what}") };
    let own = any(count(Status::Own), "own");
    let not_judged = any(count(Status::NotJudged), "not judged");
    let expected = any(count(Status::Expected), "expected to fail");
    let stale = any(stale, if stale == 1 { "stale expectation" } else { "stale expectations" });
    format!(
        "checkpoints: {passed} passed, {failed} failed, {skipped} skipped{own}{not_judged}{expected}{stale}"
    )
}
