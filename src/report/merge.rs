//! Merges the reports of all parts of a run.

use super::json::{Part, Report};
use crate::judge::{Shard, UnitFindings};
use crate::{Error, Result};

/// All parts of a run together.
#[derive(Clone, Debug)]
pub struct Merged {
    /// The report of the first part: the model, the run and the references, which all parts share.
    pub first: Report,
    /// What the first part says about the whole run.
    pub part: Part,
    /// What all parts judged.
    pub units: Vec<UnitFindings>,
}

/// Puts the parts of one run together. Each report has the name of its file, for messages.
///
/// # Errors
/// A report is no part of a run; a part is missing, or there twice; two reports are not parts of the same run; or the
/// parts contain no verdicts.
pub fn merge(reports: Vec<(String, Report)>) -> Result<Merged> {
    let mut parts: Vec<(String, Report, Part)> = Vec::new();
    for (name, mut report) in reports {
        match report.part.take() {
            Some(part) => parts.push((name, report, part)),
            None => {
                let hint = "merge reports of `rbees-check run --shard K/N --report json=FILE`";
                return Err(Error::input(
                    format!("{name}: this report is of a whole run, not of a part"),
                    hint,
                ));
            }
        }
    }
    parts.sort_by_key(|(_, _, part)| part.number);
    let Some((first, rest)) = parts.split_first() else {
        return Err(Error::input("there are no parts to merge", "name the report of each part"));
    };
    rest.iter().try_for_each(|other| same_run(first, other))?;
    complete(&parts)?;
    let (report, mut whole) = (first.1.clone(), first.2.clone());
    whole.units.clear();
    let name = first.0.clone();
    let units: Vec<_> = parts.into_iter().flat_map(|(_, _, part)| part.units).collect();
    if units.is_empty() {
        let what = format!("{name}: neither this part nor any other contains a verdict");
        return Err(Error::input(what, "judge the parts again"));
    }
    Ok(Merged { first: report, part: whole, units })
}

/// Is each part there once? The numbers come from files, so that they are checked before anything is counted with them.
fn complete(parts: &[(String, Report, Part)]) -> Result<()> {
    let of = parts.first().map_or(0, |(_, _, part)| part.of);
    for (name, report, part) in parts {
        let Shard { number, of } = part.shard();
        if !(1..=of).contains(&number) || part.shard().check(report.references.cases.len()).is_err() {
            let what = format!("{name}: no run of its cases has a part {number} of {of}");
            return Err(Error::input(what, "judge the part again"));
        }
    }
    for pair in parts.windows(2) {
        let [(one, _, a), (two, _, b)] = pair else { continue };
        if a.number == b.number {
            let what = format!("{one} and {two} are both part {} of {of}", a.number);
            return Err(Error::input(what, "name each part once"));
        }
    }
    let has = |number: usize| parts.iter().any(|(_, _, part)| part.number == number);
    let missing: Vec<String> = (1..=of).filter(|&n| !has(n)).map(|n| n.to_string()).collect();
    match missing.as_slice() {
        [] if parts.len() == of => Ok(()),
        [] => Err(Error::input(format!("there are {} parts of {of}", parts.len()), "name each part once")),
        missing => {
            let s = if missing.len() == 1 { "" } else { "s" };
            let what = format!("part{s} {} of {of}: missing", missing.join(", "));
            let hint = format!("run the missing parts with --shard K/{of}, and merge all {of} reports");
            Err(Error::input(what, hint))
        }
    }
}

/// Are these parts of the same run? The machines may have different numbers of threads.
fn same_run(first: &(String, Report, Part), other: &(String, Report, Part)) -> Result<()> {
    let of = |(_, report, part): &(String, Report, Part)| {
        let Report { tool, model, run, references, .. } = report;
        let cases = references.cases.iter().map(|case| format!("{} {}", case.case, case.sites_sha256));
        let expected = part.expected.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        [
            ("number of parts", part.of.to_string()),
            ("version", format!("{} {}", tool.name, tool.version)),
            ("model", format!("{} ({})", model.weights_sha256.as_deref().unwrap_or("none"), model.shape)),
            ("device", run.device.clone()),
            ("dtype", run.dtype.clone()),
            ("matmul", run.matmul.clone()),
            ("attention", run.paths.join(", ")),
            ("feed", run.feed.clone().unwrap_or_else(|| "all".into())),
            ("cases", cases.collect::<Vec<_>>().join(", ")),
            ("references", references.files_sha256.clone().unwrap_or_else(|| "none".into())),
            ("checkpoints", part.checkpoints.join(" ")),
            ("expected failures", format!("{expected} {}", part.partial)),
        ]
    };
    let differs = of(first).into_iter().zip(of(other)).find(|((_, a), (_, b))| a != b);
    match differs {
        None => Ok(()),
        Some(((what, a), (_, b))) => Err(Error::input(
            format!("{} and {} are parts of different runs: the {what} is {a} and {b}", first.0, other.0),
            "run all parts with the same program, model, references and flags",
        )),
    }
}
