//! The text of a failure: what differs, which mistake explains it, and what to do.

use std::fmt::Write;

use super::scope::scope;
use super::text::{percent, place, word};
use crate::compare::{Difference, Element};
use crate::diagnose::Alternative;
use crate::files::one_line;
use crate::judge::{Finding, Outcome, Status, Verdict};

/// The paragraph about a checkpoint that failed or could not be judged, ending with the command that reruns
/// it. `flags` are those of the command that ran it.
pub fn detail(outcome: &Outcome, flags: &str) -> Option<String> {
    let (text, id) = (trouble(outcome)?, outcome.checkpoint.id);
    Some(format!(
        "{text}   rerun      rbees-check run {id}{flags} -v        docs   rbees-check explain {id}\n"
    ))
}

/// The paragraph about a checkpoint that failed or could not be judged: its first failure, what is wrong
/// there, and what to do.
pub fn trouble(outcome: &Outcome) -> Option<String> {
    let status = outcome.status();
    let of_status = || outcome.findings.iter().filter(|f| f.status() == status);
    if matches!(status, Status::Passed | Status::Own | Status::Skipped | Status::Expected) {
        return None;
    }
    // The first failure in forward order causes those after it. Facts come before all sites.
    let first = of_status().min_by_key(|f| f.site.map_or((0, None), |site| (1, Some(site))))?;
    let checkpoint = outcome.checkpoint;
    let mut text = String::new();
    let _ = writeln!(text, "{} {} {} · {}", word(status), checkpoint.id, checkpoint.name, place(first));
    for (label, value) in describe(&first.verdict) {
        let _ = writeln!(text, "   {label:<10} {value}");
    }
    if let Some(scope) = scope(outcome, first) {
        let _ = writeln!(text, "   {:<10} {scope}", "scope");
    }
    for (label, value) in suspects(outcome, first) {
        let _ = writeln!(text, "   {label:<10} {value}");
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

/// The mistakes that explain it and what to do; or a line that says that no known mistake reproduces it.
fn suspects(outcome: &Outcome, first: &Finding) -> Vec<(&'static str, String)> {
    let named = outcome.named();
    let looked = first.explained.as_ref();
    let mut lines = Vec::new();
    for named in &named {
        let flips = match named.flips {
            0 => String::new(),
            n => format!(", except {n} entr{} one rounding step off", if n == 1 { "y" } else { "ies" }),
        };
        let residual = match named.residual {
            0.0 => String::new(),
            residual => format!("; reproduces your tensor to {}{flips}", percent(residual)),
        };
        lines.push(("suspect", format!("{}: {}{residual}", named.mistake, one_line(&named.says))));
        lines.extend(same_as(&named.same_as));
        lines.push(("help", one_line(&named.fix)));
    }
    if let Some(next) = looked.and_then(|d| d.runner_up.as_ref()).filter(|next| next.residual.is_finite()) {
        let (name, away) = (next.mistake, budgets(next.residual));
        if named.is_empty() {
            lines.push((
                "suspect",
                format!("unexplained: no known mistake reproduces it; the closest is {name}, {away} away"),
            ))
        } else {
            lines.push(("next best", format!("{name}, {away} away")))
        }
    } else if named.is_empty() && looked.is_some() {
        lines.push(("suspect", "unexplained: no known mistake reproduces it".into()));
    }
    lines
}

/// The deviations that give the same tensor as the one that is named: at most two, and the number of others.
fn same_as(others: &[Alternative]) -> Vec<(&'static str, String)> {
    const SHOWN: usize = 2;
    let mut lines: Vec<(&'static str, String)> = others
        .iter()
        .take(SHOWN)
        .map(|other| ("same as", format!("{}: {}", other.mistake, one_line(&other.says))))
        .collect();
    if let (Some((_, last)), more @ 1..) = (lines.last_mut(), others.len().saturating_sub(SHOWN)) {
        *last += &format!(" (and {more} more)");
    }
    lines
}

/// `4.1e3 budgets`, `12 budgets`.
pub(super) fn budgets(residual: f64) -> String {
    match residual {
        r if !r.is_finite() => "NaN or infinitely many budgets".into(),
        r if r >= 1000.0 => format!("{r:.1e} budgets"),
        r => format!("{r:.0} budgets"),
    }
}

/// What to print about a verdict: pairs of a label and its text.
pub(super) fn describe(verdict: &Verdict) -> Vec<(&'static str, String)> {
    match verdict {
        Verdict::Pass(share) => vec![("passed", percent(*share))],
        Verdict::Differs(difference) => differs(difference),
        Verdict::Shape { got, want } => vec![("shape", format!("got {got:?}, want {want:?}"))],
        Verdict::LowerPrecision { got, want } => {
            vec![("precision", format!("got a {got} tensor in a {want} run"))]
        }
        Verdict::TooWide { rows } => vec![(
            "budget",
            format!(
                "larger than the tensor's own values, or not measured, at {rows} row{}, so any value would pass",
                if *rows == 1 { "" } else { "s" }
            ),
        )],
        Verdict::Incomparable => vec![(
            "judged",
            "nothing: in this dtype, rounding noise is as large as the values in every row".into(),
        )],
        Verdict::NeverReached => {
            vec![("reached", "never: the port did not pass this site to the probe".into())]
        }
        Verdict::Unclaimed => vec![("unknown", "the reference (read by PyTorch) has no such tensor".into())],
        Verdict::Broken(how) => vec![("wrong", one_line(how))],
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
            format!("no single element is over budget, but a row's root mean square error is {ratio:.1} times its budget"),
        )),
    }
    if *unlike > 0 {
        lines.push(("not finite", format!("{unlike} elements are NaN, infinite or masked on one side only")));
    }
    lines.push(("pattern", difference.along.to_string()));
    lines
}
