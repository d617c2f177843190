//! Finds mistakes in RMSNorm: a wrong ε, 1 + w, a weight never loaded, half precision.

use candle_core::DType;

use super::Evidence;
use super::decide::Hypotheses;
use super::deviation::{Deviation, LowNorm, NormWeight};
use super::fit::Estimate;
use super::search::{Candidate, Solver, search};
use crate::Result;
use crate::graph::{EpsPlace, Operation};
use crate::oracle::{mean_square, vector};

const SOLVERS: [Solver; 4] = [
    Solver { mistake: "norm-plus-one", fingerprint: |_| false, solve: plus_one, pairs: true },
    Solver { mistake: "absent-tensors", fingerprint: |_| false, solve: without_weight, pairs: true },
    Solver { mistake: "norm-eps", fingerprint: by_one_factor, solve: eps, pairs: true },
    Solver { mistake: "norm-low-precision", fingerprint: |e| !by_one_factor(e), solve: low, pairs: false },
];

/// Finds the mistake in a norm.
pub(super) fn diagnose(e: &Evidence<'_>) -> Result<Hypotheses> {
    search(e, &SOLVERS)
}

/// The number of entries that are normed together: a row, or a head of it.
fn run_of(e: &Evidence<'_>) -> usize {
    match e.node().map(|node| &node.operation) {
        Some(Operation::Norm(norm)) => norm.rule.run(e.got.width),
        _ => e.got.width,
    }
}

/// Whether every row, or every head of it, is the correct one times one number.
fn by_one_factor(e: &Evidence<'_>) -> bool {
    let run = run_of(e);
    (0..e.got.len()).all(|r| {
        let budget = e.budget(r, e.want.row(r)).max;
        let mut parts = e.got.row(r).chunks(run).zip(e.want.row(r).chunks(run));
        parts.all(|(got, want)| {
            let factor = project(got, want);
            got.iter().zip(want).all(|(got, want)| (got - factor * want).abs() <= budget)
        })
    })
}

/// The factor that brings `base` closest to `row`.
fn project(row: &[f64], base: &[f64]) -> f64 {
    let (mut product, mut square) = (0.0, 0.0);
    for (a, b) in row.iter().zip(base) {
        product += a * b;
        square += b * b;
    }
    product / square
}

fn plus_one(e: &Evidence<'_>, _: &[Deviation]) -> Result<Vec<Candidate>> {
    let with = |(more, says)| Candidate::new(Deviation::NormWeight(NormWeight::Plus(more)), says);
    Ok(e.plus_one().map(with).into())
}

fn without_weight(e: &Evidence<'_>, _: &[Deviation]) -> Result<Vec<Candidate>> {
    let offset = e.config().family.norm_offset();
    let all = [(1.0, "ones"), (0.0, "zeros")].map(|(value, entries)| {
        let says = format!("your norm's weight is all {entries}: you never load it");
        Candidate::new(Deviation::NormWeight(NormWeight::All(offset + value)), says)
    });
    Ok(all.into())
}

/// The vector by which a port with these deviations multiplies each part of a row that is normed by itself.
fn weight(e: &Evidence<'_>, made: &[Deviation]) -> Result<Option<Vec<f64>>> {
    let Some(Operation::Norm(norm)) = e.node().map(|node| &node.operation) else { return Ok(None) };
    let mut weight = norm.rule.gain(&vector(e.context.weights, &norm.weight)?);
    for deviation in made {
        if let Deviation::NormWeight(other) = deviation {
            weight = other.of(&weight);
        }
    }
    Ok(Some(weight))
}

/// Solves for ε from the length of every row, or of every head: |got| = |x·w| / √(mean + ε).
fn eps(e: &Evidence<'_>, made: &[Deviation]) -> Result<Vec<Candidate>> {
    let (Some(x), Some(weight)) = (e.input(0), weight(e, made)?) else { return Ok(vec![]) };
    let config = e.config().rms_norm_eps;
    let (run, parts) = (weight.len(), x.width / weight.len().max(1)); // a row is one part, or one for each head
    let rows = || {
        (0..x.len() * parts).map(|part| {
            let (r, range) = (part / parts, part % parts * run..(part % parts + 1) * run);
            let (x, got) = (&x.row(r)[range.clone()], &e.got.row(r)[range]);
            let base: Vec<f64> = x.iter().zip(&weight).map(|(x, w)| x * w).collect();
            let divisor = 1.0 / project(got, &base);
            let budget = e.budget(r, e.got.row(r));
            // The part of a row's error in the direction of the row.
            let length = base.iter().map(|v| v * v).sum::<f64>().sqrt() / divisor;
            (mean_square(x), divisor, budget.rms * (e.got.width as f64).sqrt() / length)
        })
    };
    let inside = Estimate::of(rows().map(|(mean, d, off)| (d * d - mean, 2.0 * d * d * off)));
    let outside = Estimate::of(rows().map(|(mean, d, off)| (d - mean.sqrt(), d * off)));
    let with = |eps, place, says| Candidate::new(Deviation::Eps { eps, place }, says).solved();
    let mut found = Vec::new();
    if let Some(eps) = inside.filter(|eps| eps.value >= 0.0 && !eps.allows(config)) {
        let says =
            format!("you used ε = {eps}; the config says {:e} ({})", config as f32, e.key("rms_norm_eps"));
        found.push(with(eps.value, EpsPlace::InsideRoot, says));
    }
    if let Some(eps) = outside.filter(|eps| eps.value > 0.0) {
        let says =
            format!("you add ε = {eps} outside the root; add it to the mean of squares, inside the root");
        found.push(with(eps.value, EpsPlace::OutsideRoot, says));
    }
    Ok(found)
}

/// All ways to compute the norm in half precision.
fn low(e: &Evidence<'_>, _: &[Deviation]) -> Result<Vec<Candidate>> {
    let mut found = Vec::new();
    let shares = if run_of(e).is_power_of_two() { 1 } else { 2 };
    for dtype in [DType::BF16, DType::F16] {
        for way in 0..4 * shares {
            let (sums, inverse, share) = (way & 1 > 0, way & 2 > 0, way & 4 > 0);
            let how = if sums { "sum squares and divide" } else { "square and divide" };
            let says = format!("you {how} in {}: the norm loses precision there", dtype.as_str());
            let deviation = Deviation::LowNorm(LowNorm { dtype, sums, inverse, share });
            found.push(Candidate::new(deviation, says).rounding(dtype));
        }
    }
    Ok(found)
}
