//! Diagnoses a failed site when several unrecorded operations precede it: recomputes all of them with one
//! deviation, applied at every operation that it can change.

use super::Evidence;
use super::decide::{Hypotheses, Hypothesis};
use super::deviation::Deviation;
use super::fit::{Expected, fit, weigh};
use super::run::{run, run_at};
use super::support::Number;
use super::usual::{self, Usual};
use crate::Result;
use crate::graph::EpsPlace;

/// Finds the deviation that reproduces the site.
///
/// # Errors
/// A weight cannot be read.
pub(super) fn diagnose(e: &Evidence<'_>) -> Result<Hypotheses> {
    let Some(right) = run(e, &[])? else { return Ok(Hypotheses::default()) };
    let mut hypotheses = Vec::new();
    for tried in usual::all(e) {
        hypotheses.extend(hypothesis(e, &right, tried, Number::Listed)?);
    }
    if !hypotheses.iter().any(Hypothesis::is_close)
        && let Some(eps) = solved_eps(e)?
    {
        hypotheses.extend(hypothesis(e, &right, usual::eps(e, eps), Number::Real)?);
    }
    Ok(Hypotheses::all(hypotheses))
}

/// A deviation and how well it fits; `None` if it changes nothing in this cut.
fn hypothesis(
    e: &Evidence<'_>,
    right: &Expected,
    tried: Usual,
    number: Number,
) -> Result<Option<Hypothesis>> {
    if !e.nodes().any(|node| tried.changes(node)) {
        return Ok(None);
    }
    let expected = run_at(e, &tried.deviations, &|node| tried.changes(node))?;
    let fit = weigh(e, right, expected.as_ref(), None);
    Ok(Some(Hypothesis::new(vec![tried.suspected(e)], fit, number, expected)))
}

/// Whether a wrongly scaled embedding, which was not recorded, explains the site. A norm of an embedding that
/// is s times too large equals the norm of the right embedding with ε / s², so the two causes cannot be
/// distinguished.
///
/// # Errors
/// A weight cannot be read.
pub(super) fn scaled_embedding_fits(e: &Evidence<'_>) -> Result<bool> {
    let own = e.config().rms_norm_eps;
    let scaled = |eps: f64| Deviation::EmbeddingScale((own / eps).sqrt());
    let Some(eps) = nearest_eps(e, &scaled)? else { return Ok(false) };
    Ok(fit(e, run(e, &[scaled(eps)])?.as_ref(), None).residual <= 1.0)
}

/// The ε that brings this cut closest to the recorded rows, rounded to two digits.
fn solved_eps(e: &Evidence<'_>) -> Result<Option<f64>> {
    let with = |eps: f64| Deviation::Eps { eps, place: EpsPlace::InsideRoot };
    let rounded = |eps: f64| format!("{eps:.1e}").parse().unwrap_or(eps);
    Ok(nearest_eps(e, &with)?.map(rounded))
}

/// The ε for which `made` comes closest to the recorded rows, by the secant method, because a small ε moves
/// every entry linearly. `None` if `made` changes nothing in this cut.
fn nearest_eps(e: &Evidence<'_>, made: &dyn Fn(f64) -> Deviation) -> Result<Option<f64>> {
    let (mut before, mut rows) = (e.config().rms_norm_eps, e.want.clone());
    if !e.nodes().any(|node| made(before).concerns(&node.operation)) {
        return Ok(None);
    }
    let mut eps = before / 2.0;
    for _ in 0..3 {
        let Some(there) = run(e, &[made(eps)])?.and_then(Expected::known) else { return Ok(None) };
        let (mut along, mut length) = (0.0, 0.0);
        for ((&there, &before), &got) in there.values.iter().zip(&rows.values).zip(&e.got.values) {
            let step = there - before;
            along += (got - there) * step;
            length += step * step;
        }
        let next = eps + along / length * (eps - before);
        if !next.is_finite() || next <= 0.0 {
            break;
        }
        (before, eps, rows) = (eps, next, there);
    }
    Ok(Some(eps))
}
