//! Changes of a result that can be read from it: its factor, its limits, its zeros.

use super::listed::{Listed, ZEROS, columns, heads_of, listed};
use super::proposal::{Proposal, called};
use crate::diagnose::Evidence;
use crate::diagnose::deviation::{Change, Deviation};
use crate::diagnose::fit::{Estimate, Expected};
use crate::graph::Node;

/// The columns, or rows, that are 0 in the port's tensor and not in the right one.
pub(super) fn empty(e: &Evidence<'_>, node: &Node, right: &Expected) -> Vec<Listed> {
    let (n, width) = (e.got.len(), e.got.width);
    let zero = |r: usize, j: usize| e.got.row(r)[j] == 0.0 && right.rows.row(r)[j].is_finite();
    let should = |r: usize, j: usize| right.rows.row(r)[j] != 0.0;
    let column = |j: &usize| (0..n).all(|r| zero(r, *j)) && (0..n).any(|r| should(r, *j));
    let row = |r: &usize| (0..width).all(|j| zero(*r, j)) && (0..width).any(|j| should(*r, j));
    let run = |all: Vec<usize>| {
        let (&first, &last) = (all.first()?, all.last()?);
        (last - first + 1 == all.len()).then_some(first..last + 1)
    };
    let mut found = Vec::new();
    if let Some(range) = run((0..width).filter(column).collect()).filter(|range| range.len() < width) {
        let how = format!("with zeros in {}", columns(&range, width, heads_of(e, node)));
        found.push(listed(ZEROS, Change::Zeros(range), how));
    }
    if let Some(range) = run((0..n).filter(row).collect()).filter(|range| range.len() < n) {
        let how = format!("with zeros in rows {} to {}", range.start, range.end - 1);
        found.push(listed(ZEROS, Change::ZeroRows(range), how));
    }
    found
}

/// One factor of the whole result, solved from every row.
pub(super) fn factor(e: &Evidence<'_>, node: &Node, right: &Expected) -> Option<Proposal> {
    let solved = Estimate::of((0..e.got.len()).map(|r| {
        let pairs = e.got.row(r).iter().zip(right.rows.row(r));
        let finite = pairs.filter(|(got, want)| got.is_finite() && want.is_finite());
        let (mut product, mut square, mut n) = (0.0, 0.0, 0usize);
        for (got, want) in finite {
            product += got * want;
            square += want * want;
            n += 1;
        }
        (product / square, e.budget(r, e.got.row(r)).rms * (n as f64).sqrt() / square.sqrt())
    }))?;
    if solved.allows(1.0) {
        return None;
    }
    let known = factors(e);
    let tabled = known.iter().find(|(by, _)| solved.allows(*by) || (solved.value / by - 1.0).abs() < 1e-6);
    let name = called(node);
    let scaled = |by: f64, text: &str| {
        let says = format!("you multiply {name} by {text}; it has no such factor");
        Proposal::new("output-scaled", node, Deviation::Output(Change::Times(by)), says)
    };
    Some(match tabled {
        Some((by, text)) => scaled(*by, text).one_of(known.len()),
        None => scaled(solved.value, &solved.to_string()).solved(),
    })
}

/// A result that is clipped: its extreme values occur more than once.
pub(super) fn clipped(e: &Evidence<'_>, node: &Node, right: &Expected) -> Option<Proposal> {
    let finite = || e.got.values.iter().copied().filter(|v| v.is_finite());
    let (low, high) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
    let times = |edge: f64| finite().filter(|v| *v == edge).count();
    let beyond =
        |least: f64, most: f64| right.rows.values.iter().any(|v| v.is_finite() && (*v < least || *v > most));
    let (low, high) = match (
        times(low) > 1 && beyond(low, f64::INFINITY),
        times(high) > 1 && beyond(f64::NEG_INFINITY, high),
    ) {
        (true, true) => (low, high),
        (true, false) | (false, true) if low == -high => (low, high),
        (true, false) => (low, f64::INFINITY),
        (false, true) => (f64::NEG_INFINITY, high),
        (false, false) => return None,
    };
    let name = called(node);
    let says = match (low.is_finite(), high.is_finite()) {
        (true, true) if low == -high => format!("you clip {name} to ±{high}"),
        (true, true) => format!("you clip {name} to {low} … {high}"),
        (true, false) => format!("you clip {name} to at least {low}"),
        _ => format!("you clip {name} to at most {high}"),
    };
    Some(
        Proposal::new("output-clipped", node, Deviation::Output(Change::Clipped { low, high }), says)
            .solved(),
    )
}

/// Factors that ports use by mistake, with their meaning.
pub(super) fn factors(e: &Evidence<'_>) -> Vec<(f64, String)> {
    let config = e.config();
    let (hidden, d) = (config.hidden_size as f64, config.head_dim as f64);
    let layers = config.num_hidden_layers as f64;
    let meant = [
        (hidden.sqrt(), "√hidden_size".to_owned()),
        (hidden.sqrt().recip(), "1/√hidden_size".into()),
        (d.sqrt().recip(), "1/√head_dim".into()),
        (d.sqrt(), "√head_dim".into()),
        ((2.0 * layers).sqrt().recip(), "1/√(2 · layers)".into()),
        (layers.sqrt().recip(), "1/√layers".into()),
        (0.5f64.sqrt(), "1/√2".into()),
    ];
    let plain = [2.0, 0.5, -1.0, 0.25, 4.0, 3.0, 8.0, 0.125, 10.0, 0.1, 12.0, -2.0, -0.5, 1.1, 0.9, 16.0];
    let plain = plain.map(|by| (by, by.to_string()));
    plain.into_iter().chain(meant).collect()
}
