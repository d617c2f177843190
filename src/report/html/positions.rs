//! Where in a prompt budgets are used: one chart per case.

use std::collections::BTreeMap;

use super::chart::{self, Chart, Line};
use super::{level, verdict};
use crate::judge::{Finding, Outcome};

/// Points of one line; with more positions, several neighbours share a point.
const POINTS: usize = 160;

/// Up to this many batch rows, each has its own line: the CSS classes of these lines.
const ROWS: [&str; 4] = ["main", "second", "third", "fourth"];

/// For each case, the largest share at every position. If a checkpoint failed, the first failing one gets one
/// line per row of the batch, and all other checkpoints share one line.
pub fn charts(outcomes: &[Outcome]) -> Vec<Chart> {
    let failed = verdict::first_failed(outcomes).map(|(outcome, _)| outcome.checkpoint);
    let mut cases: BTreeMap<&str, Vec<Line>> = BTreeMap::new();
    let findings = || outcomes.iter().flat_map(|o| o.findings.iter().map(move |f| (o.checkpoint.id, f)));
    let mut names: Vec<&str> = Vec::new();
    for (_, finding) in findings().filter(|(_, finding)| finding.shares.is_some()) {
        if !names.contains(&finding.case.as_str()) {
            names.push(&finding.case);
        }
    }
    for &case in &names {
        let of_case = |chosen: &dyn Fn(&str) -> bool| {
            findings().filter(|(id, f)| f.case == case && chosen(id)).map(|(_, f)| f).collect::<Vec<_>>()
        };
        let mut lines = Vec::new();
        if let Some(failed) = failed {
            lines.push(line("other checkpoints", "others", &of_case(&|other| other != failed.id), None));
        }
        let main = of_case(&|id| failed.is_none_or(|failed| failed.id == id));
        lines.extend(by_row(
            &failed.map_or(String::new(), |failed| format!("{} {}", failed.id, failed.name)),
            &main,
        ));
        lines.retain(|line| !line.points.is_empty());
        cases.insert(case, lines);
    }
    let shares = cases.values().flatten().flat_map(|line| line.points.iter().map(|point| point.1));
    let highest = chart::highest(shares);
    names
        .into_iter()
        .filter_map(|case| Some((case, cases.remove(case).filter(|lines| !lines.is_empty())?)))
        .map(|(case, lines)| chart::chart(format!("case {case}"), "position", highest, &lines))
        .collect()
}

/// One line per row of the batch, or one for all rows if there are many.
fn by_row(name: &str, findings: &[&Finding]) -> Vec<Line> {
    let places = findings.iter().filter_map(|f| f.shares.as_ref()).flat_map(|shares| &shares.places);
    let rows = places.map(|place| place.0 + 1).max().unwrap_or(0);
    let of_row = |row: usize| match name {
        "" => format!("row {row}"),
        name => format!("{name}, row {row}"),
    };
    match rows {
        0 => vec![],
        2..=4 => (0..rows).map(|row| line(&of_row(row), ROWS[row], findings, Some(row))).collect(),
        _ => vec![line(name, ROWS[0], findings, None)],
    }
}

/// The largest share at every position over `findings`, of one row of the batch or of all.
fn line(name: &str, class: &'static str, findings: &[&Finding], row: Option<usize>) -> Line {
    let mut worst: BTreeMap<usize, (f64, &Finding)> = BTreeMap::new();
    for (finding, shares) in findings.iter().filter_map(|f| Some((f, f.shares.as_ref()?))) {
        let of_row = |batch: usize| row.is_none_or(|row| row == batch);
        let all = shares.places.iter().zip(&shares.of_row).filter(|(place, _)| of_row(place.0));
        for (&(_, position), &share) in all {
            let entry = worst.entry(position).or_insert((0.0, finding));
            if f64::from(share) >= entry.0 {
                *entry = (share.into(), finding);
            }
        }
    }
    Line { name: name.into(), class, points: points(&worst) }
}

fn points(worst: &BTreeMap<usize, (f64, &Finding)>) -> Vec<(usize, f64, String)> {
    let together = worst.len().div_ceil(POINTS).max(1);
    let all: Vec<(usize, f64, &Finding)> =
        worst.iter().map(|(position, (share, finding))| (*position, *share, *finding)).collect();
    all.chunks(together)
        .filter_map(|chunk| chunk.iter().max_by(|a, b| a.1.total_cmp(&b.1)))
        .map(|(position, share, finding)| {
            let label = format!("position {position}: {}, {}", level::in_words(*share), finding.about);
            (*position, *share, label)
        })
        .collect()
}
