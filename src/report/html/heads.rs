//! A heads × positions table of one site: the first failing site, or the one closest to its budget.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::heat::{Cell, Heat, HeatRow};
use super::level::share;
use super::verdict;
use crate::compare::Shares;
use crate::judge::{Finding, Outcome};
use crate::report::text::place;

/// Columns of a table; with more positions, several neighbours share a column.
const COLUMNS: usize = 96;
/// Up to this many columns, every cell has room for its number.
const ROOMY: usize = 14;
/// How many rows of a batch are shown.
const ROWS: usize = 4;

/// One site, with one table per row of the batch.
#[derive(Clone, Debug, Serialize)]
pub struct HeadTables {
    /// The site with its case and drive.
    place: String,
    red: bool,
    heads: usize,
    tables: Vec<Heat>,
    /// Rows of the batch that are not shown.
    more: usize,
}

/// The first failing site that was compared, else the site that used most of its budget.
pub fn of_the_worst(outcomes: &[Outcome]) -> Option<HeadTables> {
    let failed = verdict::first_failed(outcomes).map(|(_, finding)| finding);
    let finding = failed.filter(|finding| finding.shares.is_some()).or_else(|| {
        let all = outcomes.iter().flat_map(|outcome| &outcome.findings).filter(|f| f.shares.is_some());
        all.filter_map(|f| Some((share(f)?, f))).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, f)| f)
    })?;
    let shares = finding.shares.as_ref()?;
    let batch: BTreeSet<usize> = shares.places.iter().map(|place| place.0).collect();
    Some(HeadTables {
        place: place(finding),
        red: failed.is_some(),
        heads: shares.heads,
        tables: batch.iter().take(ROWS).map(|&row| table(finding, shares, row, batch.len())).collect(),
        more: batch.len().saturating_sub(ROWS),
    })
}

fn table(finding: &Finding, shares: &Shares, row: usize, rows: usize) -> Heat {
    // All rows of the batch use the same columns, so padding is visible as gaps.
    let positions: BTreeSet<usize> = shares.places.iter().map(|place| place.1).collect();
    let positions: Vec<usize> = positions.into_iter().collect();
    let columns: Vec<&[usize]> = positions.chunks(positions.len().div_ceil(COLUMNS).max(1)).collect();
    let at: BTreeMap<usize, usize> =
        shares.places.iter().enumerate().filter(|(_, p)| p.0 == row).map(|(r, p)| (p.1, r)).collect();
    let cell = |head: usize, column: &[usize]| {
        let here = column.iter().filter_map(|position| Some(f64::from(shares.at(*at.get(position)?, head))));
        let about = match shares.heads {
            1 => format!("position {}", range(column)),
            _ => format!("head {head}, position {}", range(column)),
        };
        here.reduce(f64::max).map(|worst| Cell::of(worst, &about))
    };
    Heat {
        caption: match rows {
            1 => finding.about.clone(),
            _ => format!("Row {row} of the batch"),
        },
        across: "position",
        columns: columns.iter().map(|column| range(column)).collect(),
        rows: (0..shares.heads)
            .map(|head| HeatRow {
                label: if shares.heads == 1 { "all channels".into() } else { format!("head {head}") },
                cells: columns.iter().map(|column| cell(head, column)).collect(),
            })
            .collect(),
        small: columns.len() > ROOMY,
    }
}

/// `7`, or `8–15`.
fn range(positions: &[usize]) -> String {
    match positions {
        [first, .., last] => format!("{first}–{last}"),
        _ => positions.first().map_or(String::new(), usize::to_string),
    }
}
