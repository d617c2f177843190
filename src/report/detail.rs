//! What is wrong at one place, as text: what differs, which mistake it was, what to do.

use std::fmt::Write;

use super::across::across;
use super::text::{percent, place, word};
use crate::compare::{Difference, Element};
use crate::judge::{Finding, Outcome, Status, Verdict};

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
    if let Some(said) = across(outcome, first) {
        let _ = writeln!(text, "   {:<10} {said}", "across");
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
        if named.is_empty() {
            lines.push((
                "suspect",
                format!("unexplained: no known mistake reproduces it; {name} comes nearest, {away} away"),
            ))
        } else {
            lines.push(("next best", format!("{name}, {away} away")))
        }
    } else if named.is_empty() && looked.is_some() {
        lines.push(("suspect", "unexplained: no known mistake reproduces it".into()));
    }
    lines
}

/// `4.1e3 budgets`, `12 budgets`.
pub(super) fn budgets(residual: f64) -> String {
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
