//! Prints the self-test as a matrix of mistakes and checkpoints.

use super::{Caught, MistakeRow, OnPath};
use crate::checkpoints;
use crate::plants::Availability;

/// The header line of the matrix.
pub fn matrix() -> String {
    let ids: String = checkpoints::ALL.iter().map(|checkpoint| format!(" {:<3}", checkpoint.id)).collect();
    format!("{:24}{ids}  margin   named", "")
}

/// `1  rope-pairing … ·   ·   ·   X   …   1e5      rank 1, …`, or why the row is not planted here.
pub fn line(row: &MistakeRow, caught: Option<&Caught>) -> String {
    let number = row.number.map_or(String::new(), |number| number.to_string());
    let head = format!("{number:>3}  {:<19}", row.name);
    match (&row.availability, caught) {
        (Availability::NotHere(why), _) => format!("{head} not here: {why}"),
        (Availability::Planted(_), None) => format!("{head} not run"),
        (Availability::Planted(_), Some(caught)) => {
            let cells: String = checkpoints::ALL
                .iter()
                .map(|checkpoint| format!(" {:<3}", cell(caught, checkpoint.id)))
                .collect();
            if let Some((why, share)) = caught.unseen() {
                return format!(
                    "{head} unseen in {}, at {:.0}% of budget: {why}",
                    caught.dtype.as_str(),
                    share * 100.0
                );
            }
            let mut faults = caught.faults();
            faults.extend(caught.misnamed());
            // A name that occurs several times does not say what was planted.
            let does = row.number.is_none().then(|| format!("it {}", caught.plant.does));
            let more = does.into_iter().chain(faults);
            let wrong: String = more.map(|line| format!("\n{:24} {line}", "")).collect();
            format!("{head}{cells}  {:<8} {}{wrong}", margin(caught), named(caught)).trim_end().to_owned()
        }
    }
}

/// Marks a checkpoint: `X` failed on every path, `x` on some, `·` on none, `?` inconclusive, `~` may fail or
/// pass.
fn cell(caught: &Caught, id: &str) -> &'static str {
    if caught.plant.may.0.contains(&id) {
        return "~";
    }
    let failed = caught.paths.iter().filter(|on| on.failed.contains(id)).count();
    match failed {
        0 if caught.paths.iter().any(|on| on.void.contains(id)) => "?",
        0 => "·",
        all if all == caught.paths.len() => "X",
        _ => "x",
    }
}

/// The margin, rounded down to a power of ten, because further digits depend on the machine.
fn margin(caught: &Caught) -> String {
    match caught.margin() {
        _ if caught.plant.fails.is_empty() => "pass".to_owned(),
        None => "exact".to_owned(),
        Some(margin) if margin.is_finite() => format!("1e{}", margin.log10().floor()),
        Some(_) => "inf".to_owned(),
    }
}

/// How the planted mistake was named on the path where it ranked lowest.
fn named(caught: &Caught) -> String {
    let least = |on: &&OnPath| on.named.rank.unwrap_or(usize::MAX);
    let Some(named) = caught.paths.iter().rev().max_by_key(least).map(|on| &on.named) else {
        return "-".to_owned();
    };
    let Some(rank) = named.rank else { return "-".to_owned() };
    let alike: String = named.alike.iter().map(|name| format!(", with {name}")).collect();
    let next =
        named.runner_up.map_or(String::new(), |(name, residual)| format!(", next {name} {residual:.0e}"));
    format!("rank {rank}, residual {:.0e}{alike}{next}", named.residual)
}
