//! Verdicts as text: one line a checkpoint, one paragraph a failure, one line for all.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::checkpoints::How;
use crate::compare::{Difference, Element};
use crate::judge::{Finding, Outcome, Status, Verdict};

/// `PASS  01B rope          8 sites     11% of budget`.
pub fn line(outcome: &Outcome) -> String {
    let checkpoint = outcome.checkpoint;
    let head = format!("{:<5} {:<3} {:<12}", word(outcome.status()), checkpoint.id, checkpoint.name);
    let tail = match outcome.status() {
        Status::Passed => format!("{:<24} {}", all(outcome), margin(outcome)),
        Status::Failed => match wrong(outcome, Status::Expected).as_str() {
            "" => format!("{} wrong", wrong(outcome, Status::Failed)),
            known => format!("{} wrong; {known} as expected", wrong(outcome, Status::Failed)),
        },
        Status::Expected => {
            format!("{} wrong, as expected: {}", wrong(outcome, Status::Expected), reasons(outcome))
        }
        Status::NotJudged => "could not judge".to_owned(),
        Status::Skipped => outcome.skipped.clone().unwrap_or_default(),
    };
    format!("{head} {tail}")
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Passed => "PASS",
        Status::Failed => "FAIL",
        Status::Skipped => "SKIP",
        Status::Expected => "XFAIL",
        Status::NotJudged => "VOID",
    }
}

/// How many different things the findings are about: those of a status, all of them, what they are.
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
fn all(outcome: &Outcome) -> String {
    let counts = counts(outcome, Status::Passed);
    let said = counts.into_iter().map(|(_, all, noun)| format!("{all} {noun}{}", plural(all)));
    said.collect::<Vec<_>>().join(", ")
}

/// `2 of 55 texts, 1 of 1 site`: those of `status`, one of the two that differ.
fn wrong(outcome: &Outcome, status: Status) -> String {
    let wrong = counts(outcome, status).into_iter().filter(|(wrong, ..)| *wrong > 0);
    let said = wrong.map(|(wrong, all, noun)| format!("{wrong} of {all} {noun}{}", plural(all)));
    said.collect::<Vec<_>>().join(", ")
}

/// Why its failures were expected, each reason once.
fn reasons(outcome: &Outcome) -> String {
    let reasons: BTreeSet<&str> = outcome.findings.iter().filter_map(|f| f.expected.as_deref()).collect();
    reasons.into_iter().collect::<Vec<_>>().join("; ")
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

fn percent(share: f64) -> String {
    if share < 0.01 { "under 1% of budget".to_owned() } else { format!("{:.0}% of budget", share * 100.0) }
}

/// What stands behind a line: the worst site of a pass, and what a path could not show.
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
            "      note   {left_out} rows are no larger than their noise in this dtype: not judged"
        );
    }
    for note in &outcome.notes {
        let _ = writeln!(text, "      note   {note}");
    }
    text
}

/// `model.layers.0.self_attn.q_rope (short; plain, feed site)`.
fn place(finding: &Finding) -> String {
    let drive = [finding.case.as_str(), finding.drive.as_str()].into_iter().filter(|s| !s.is_empty());
    match drive.collect::<Vec<_>>().join("; ").as_str() {
        "" => finding.about.clone(),
        drive => format!("{} ({drive})", finding.about),
    }
}

/// One comparison in a line: `PASS   8.1%  model.layers.0.self_attn.q_rope (short; plain, feed site)`.
pub fn finding(finding: &Finding) -> String {
    let share = match finding.verdict {
        Verdict::Pass(0.0) => "exact".to_owned(),
        Verdict::Pass(share) => format!("{:.1}%", share * 100.0),
        _ => String::new(),
    };
    format!("{} {share:>6}  {}", word(finding.status()), place(finding))
}

/// The paragraph about a checkpoint that failed or could not judge, and how to run it again: with
/// `flags`, those of the command that ran it.
pub fn detail(outcome: &Outcome, flags: &str) -> Option<String> {
    let (text, id) = (trouble(outcome)?, outcome.checkpoint.id);
    Some(format!(
        "{text}   again      rbees-check run {id}{flags} -v        read   rbees-check explain {id}\n"
    ))
}

/// The paragraph about a checkpoint that failed or could not judge: its first trouble, what is wrong
/// there, what to do.
pub fn trouble(outcome: &Outcome) -> Option<String> {
    let status = outcome.status();
    let of_status = || outcome.findings.iter().filter(|f| f.status() == status);
    if matches!(status, Status::Passed | Status::Skipped | Status::Expected) {
        return None;
    }
    // The first in forward order is the cause of those behind it; facts come before all sites.
    let first = of_status().min_by_key(|f| f.site.map_or((0, None), |site| (1, Some(site))))?;
    let checkpoint = outcome.checkpoint;
    let mut text = String::new();
    let _ = writeln!(text, "{} {} {} · {}", word(status), checkpoint.id, checkpoint.name, place(first));
    for (label, said) in describe(&first.verdict) {
        let _ = writeln!(text, "   {label:<10} {said}");
    }
    for (label, said) in suspects(outcome, first) {
        let _ = writeln!(text, "   {label:<10} {said}");
    }
    let others = of_status().count() - 1;
    if others > 0 {
        let _ = writeln!(
            text,
            "   also       {others} more comparison{} of this checkpoint",
            if others == 1 { "" } else { "s" }
        );
    }
    Some(text)
}

/// Which mistake it was, and what to do; or that none of those known reproduces it.
fn suspects(outcome: &Outcome, first: &Finding) -> Vec<(&'static str, String)> {
    let named = outcome.named();
    let looked = first.explained.as_ref();
    let mut lines = Vec::new();
    for named in &named {
        let flips = match named.flips {
            0 => String::new(),
            n => format!(" but for {n} entr{} one rounding off", if n == 1 { "y" } else { "ies" }),
        };
        let residual = match named.residual {
            0.0 => String::new(),
            residual => format!("; reproduces your tensor to {}{flips}", percent(residual)),
        };
        lines.push(("suspect", format!("{}: {}{residual}", named.mistake, named.says)));
        lines.push(("help", named.fix.clone()));
    }
    if let Some(next) = looked.and_then(|d| d.runner_up.as_ref()) {
        let (name, away) = (next.mistake, budgets(next.residual));
        match named.is_empty() {
            true => lines.push((
                "suspect",
                format!("unexplained: no known mistake reproduces it; {name} comes nearest, {away} away"),
            )),
            false => lines.push(("next best", format!("{name}, {away} away"))),
        }
    } else if named.is_empty() && looked.is_some() {
        lines.push(("suspect", "unexplained: no known mistake reproduces it".into()));
    }
    lines
}

/// `4.1e3 budgets`, `12 budgets`.
fn budgets(residual: f64) -> String {
    match residual {
        r if !r.is_finite() => "no number of budgets".into(),
        r if r >= 1000.0 => format!("{r:.1e} budgets"),
        r => format!("{r:.0} budgets"),
    }
}

/// What is to be said of a verdict: labels, and what stands behind them.
pub(super) fn describe(verdict: &Verdict) -> Vec<(&'static str, String)> {
    match verdict {
        Verdict::Pass(share) => vec![("passed", percent(*share))],
        Verdict::Differs(difference) => differs(difference),
        Verdict::Shape { got, want } => vec![("shape", format!("got {got:?}, want {want:?}"))],
        Verdict::LowerPrecision { got, want } => {
            vec![("precision", format!("a {got} tensor in a {want} run"))]
        }
        Verdict::TooWide { rows } => vec![(
            "budget",
            format!(
                "past the tensor's own scale, or not measured, at {rows} row{}: it could not fail",
                if *rows == 1 { "" } else { "s" }
            ),
        )],
        Verdict::Incomparable => vec![("judged", "no row can be told from noise in this dtype".into())],
        Verdict::NeverReached => vec![("reached", "never: the port did not hand it over".into())],
        Verdict::Unclaimed => vec![("unknown", "PyTorch's reader has no such tensor".into())],
        Verdict::Broken(how) => vec![("wrong", how.clone())],
    }
}

fn differs(difference: &Difference) -> Vec<(&'static str, String)> {
    let Difference { differing, elements, unlike, ratio, .. } = difference;
    let at = |e: &Element| {
        format!("{:?}: got {:.6}, want {:.6} (budget {:.1e})", e.index, e.got, e.want, e.budget)
    };
    let mut lines = vec![];
    match &difference.worst {
        Some(worst) if *differing > 0 => {
            lines.push(("differing", format!("{differing} of {elements} elements; worst at {}", at(worst))));
        }
        _ => lines.push((
            "differing",
            format!("no element alone, but their root mean square: {ratio:.1} times its budget"),
        )),
    }
    if *unlike > 0 {
        lines.push(("not finite", format!("{unlike} elements are NaN, infinite or barred on one side only")));
    }
    lines.push(("pattern", difference.along.to_string()));
    lines
}

/// The earliest wrong site in the order of the forward pass: where to look first.
pub fn first_wrong(outcomes: &[Outcome]) -> Option<String> {
    let sites = outcomes.iter().flat_map(|o| o.failures().filter_map(move |f| Some((f.site?, o.checkpoint))));
    let (site, checkpoint) = sites.min_by_key(|(site, _)| *site)?;
    Some(format!("first wrong in the forward pass: {site} ({} {})", checkpoint.id, checkpoint.name))
}

/// The last line: `checkpoints: 12 passed, 0 failed, 0 skipped`, and whatever else there was: not
/// judged, expected to fail, `stale` expectations.
pub fn summary(outcomes: &[Outcome], stale: usize) -> String {
    let count = |status| outcomes.iter().filter(|o| o.status() == status).count();
    let (passed, failed, skipped) = (count(Status::Passed), count(Status::Failed), count(Status::Skipped));
    let any = |n: usize, what: &str| if n == 0 { String::new() } else { format!(", {n} {what}") };
    let not_judged = any(count(Status::NotJudged), "not judged");
    let expected = any(count(Status::Expected), "expected to fail");
    let stale = any(stale, if stale == 1 { "stale expectation" } else { "stale expectations" });
    format!("checkpoints: {passed} passed, {failed} failed, {skipped} skipped{not_judged}{expected}{stale}")
}
