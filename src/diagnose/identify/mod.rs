//! Identifies a deviation that is not in the catalogue: each operation is recomputed from its inputs with many
//! changes of its inputs, its parameters and its result, until one gives the port's tensor.
//!
//! A name here follows the same rules as one from the catalogue: the prediction must be within half a budget,
//! the correct operation must be at least ten times further away, and the evidence must exceed what the best
//! of all tried deviations reaches by chance.

mod changes;
mod context;
mod embedding;
mod gate;
mod linear;
mod listed;
mod norm;
mod normed;
mod orders;
mod proposal;
mod rope;
mod scores;
mod seen;
mod softcap;
mod softmax;
mod sums;
mod wiring;

use proposal::{Proposal, is_own};

use candle_core::DType;

use super::Evidence;
use super::decide::{CLOSE, Hypotheses, Hypothesis};
use super::fit::{Expected, distance, fit};
use super::run::{run, run_rows};
use crate::Result;
use crate::graph::{Node, Operation};

/// How many times further than a prediction the correct operation must be from the port's rows.
const NEARER: f64 = 10.0;

/// How many budgets the correct operation must be away at least: some deviation explains any smaller error. In half
/// precision the budgets are wide, and many mistakes change less than ten of them; the null test finds names up to five.
fn least(dtype: DType) -> f64 {
    if dtype == DType::F32 { 10.0 } else { 6.0 }
}

/// The most operations that are recomputed in all: a long span of unrecorded operations has thousands of possible
/// deviations, each of which costs as many operations.
const MOST: usize = 24_000;

/// Finds the deviations that reproduce the port's rows.
///
/// # Errors
/// A weight cannot be read.
pub(super) fn identify(e: &Evidence<'_>) -> Result<Hypotheses> {
    let Some(e) = &e.with_neighbours() else { return Ok(Hypotheses::default()) };
    let Some(right) = run(e, &[])? else { return Ok(Hypotheses::default()) };
    let wrong = fit(e, Some(&right), None).residual;
    if distance(e, &right, &e.want, None).residual > 1.0 || wrong < least(e.context.dtype) {
        return Ok(Hypotheses::default());
    }
    let proposals = proposals(e, &right)?;
    let tried = proposals.len();
    let mut found = Vec::new();
    for proposal in proposals {
        let Some(predicted) = predicted(e, &proposal)? else { continue };
        let exact = super::fit::weigh(e, &right, Some(&predicted), None);
        let fit = match proposal.coarse {
            Some(_) if exact.residual > CLOSE => {
                super::fit::weigh(e, &right, Some(&predicted), proposal.coarse)
            }
            _ => exact,
        };
        if fit.residual <= CLOSE && fit.residual * NEARER <= wrong {
            let parts = vec![proposal.tried.suspected(e)];
            found.push(Hypothesis::new(parts, fit, proposal.number, Some(predicted)));
        }
    }
    Ok(Hypotheses::of(found, tried))
}

/// What the port would compute; `None` if that is not what it did in its worst row, where most deviations fail.
fn predicted(e: &Evidence<'_>, proposal: &Proposal) -> Result<Option<Expected>> {
    let made = &proposal.tried.deviations;
    let changes = |node: &Node| proposal.tried.changes(node);
    if made.iter().all(super::deviation::Deviation::is_row_wise) {
        let worst = worst_row(e);
        let Some(row) = run_rows(e, made, &changes, &e.places[worst..=worst])? else { return Ok(None) };
        if !near(e, worst, row.rows.row(0), proposal.coarse.is_some()) {
            return Ok(None);
        }
    }
    run_rows(e, made, &changes, &e.places)
}

/// The row in which the port is furthest from the correct tensor, in budgets.
fn worst_row(e: &Evidence<'_>) -> usize {
    let error = |r: usize| {
        let budget = e.budget(r, e.want.row(r)).max;
        let errors = e.got.row(r).iter().zip(e.want.row(r)).filter(|(got, want)| got != want);
        errors.map(|(got, want)| ((got - want).abs() / budget).min(f64::MAX)).fold(0.0, f64::max)
    };
    let errors: Vec<f64> = (0..e.got.len()).map(error).collect();
    (0..errors.len()).max_by(|&a, &b| errors[a].total_cmp(&errors[b])).unwrap_or(0)
}

/// Whether a predicted row is about the port's row `r`: within its budget, or all but a few entries if ties may
/// be rounded either way.
fn near(e: &Evidence<'_>, r: usize, predicted: &[f64], coarse: bool) -> bool {
    let budget = e.budget(r, predicted).max;
    let far = |(got, want): &(&f64, &f64)| {
        let equal = got == want || (got.is_nan() && want.is_nan());
        let error = (*got - *want).abs();
        !equal && (error.is_nan() || error > budget)
    };
    let wrong = e.got.row(r).iter().zip(predicted).filter(far).count();
    wrong == 0 || (coarse && wrong * 20 <= predicted.len())
}

/// All deviations that are tried, simple and likely ones first.
fn proposals(e: &Evidence<'_>, right: &Expected) -> Result<Vec<Proposal>> {
    let mut all = Vec::new();
    let nodes: Vec<&Node> = e.nodes().collect();
    for node in nodes.iter().rev() {
        all.extend(match &node.operation {
            Operation::Embedding(embedding) => embedding::proposals(node, embedding.scale),
            Operation::Norm(norm) => norm::proposals(e, node, norm)?,
            Operation::Linear(linear) => linear::proposals(e, node, linear),
            Operation::Rope(rope) => rope::proposals(e, node, rope),
            Operation::Scores(scores) => scores::proposals(e, node, scores, right)?,
            Operation::Softmax => softmax::proposals(e, node),
            Operation::Context(context) => context::proposals(e, node, context)?,
            Operation::Activation(_) | Operation::Product => gate::proposals(e, node),
            Operation::WeightedSum { .. } if is_own(e, node) => sums::solved_from(e, node)?,
            Operation::WeightedSum { .. } => sums::listed(e, node)?,
            Operation::Softcap { cap } => softcap::proposals(node, *cap),
            Operation::Source | Operation::Scale { .. } => vec![],
        });
    }
    for node in nodes.iter().rev() {
        all.extend(wiring::proposals(e, node));
    }
    for node in nodes.iter().rev() {
        all.extend(if is_own(e, node) {
            changes::of_output(e, node, right)?
        } else {
            changes::of_unrecorded(e, node)
        });
        all.extend(changes::of_input(e, node)?);
    }
    all.truncate(MOST / e.cut.len().max(1));
    Ok(all)
}
