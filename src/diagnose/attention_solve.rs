//! Solves for the numbers of an attention: score scale, window, head map.

use super::Evidence;
use super::fit::{Estimate, Expected};
use crate::Result;
use crate::graph::{HeadMap, Operation, Scores};
use crate::oracle::{Rows, Slots, scores};
use crate::probe::Kind;

/// The port's score scale, from the scores `predicted` expected under the scale `right`: each row gives
/// c = ⟨got, p⟩ / ⟨p, p⟩.
pub(super) fn ratio(e: &Evidence<'_>, predicted: &Expected, right: f64) -> Option<Estimate> {
    Estimate::of((0..predicted.rows.len()).map(|r| {
        let (mut product, mut square, mut n) = (0.0, 0.0, 0usize);
        for (j, (&got, &p)) in e.got.row(r).iter().zip(predicted.rows.row(r)).enumerate() {
            if got.is_finite() && p.is_finite() && predicted.knows(r, j) {
                product += got * p;
                square += p * p;
                n += 1;
            }
        }
        // An error of `rms` in each of n entries has at most this length along the row.
        let off = e.budget(r, e.got.row(r)).rms * (n as f64).sqrt() / square.sqrt();
        (right * product / square, right * off)
    }))
}

/// The scale at which `run` comes closest to the port's rows. The scale acts through a softmax, so it is
/// found by Newton steps on ln c, starting from the best of a few values.
///
/// # Errors
/// The errors of `run`.
pub(super) fn scale(
    e: &Evidence<'_>,
    right: f64,
    run: &dyn Fn(f64) -> Result<Option<Rows>>,
) -> Result<Option<Estimate>> {
    let distance = |rows: &Rows| -> f64 {
        rows.values.iter().zip(&e.got.values).map(|(a, b)| (a - b) * (a - b)).sum::<f64>()
    };
    let starts = [-2.0, -1.0, -0.3, 0.3, 1.0, 2.0, 3.0].map(|step: f64| right * step.exp());
    let mut nearest: Option<(f64, f64)> = None;
    for c in starts {
        let Some(rows) = run(c)? else { return Ok(None) };
        let away = distance(&rows);
        if nearest.is_none_or(|(_, least)| away.total_cmp(&least).is_lt()) {
            nearest = Some((c, away));
        }
    }
    let Some((mut c, _)) = nearest else { return Ok(None) };
    let mut bound = f64::INFINITY;
    for _ in 0..12 {
        let (Some(here), Some(there)) = (run(c)?, run(c * (1.0 + 1e-6))?) else { return Ok(None) };
        let (mut product, mut square, mut allowed) = (0.0, 0.0, 0.0);
        for r in 0..here.len() {
            let budget = e.budget(r, e.got.row(r)).rms;
            allowed += budget * budget * here.width as f64;
            for ((h, t), g) in here.row(r).iter().zip(there.row(r)).zip(e.got.row(r)) {
                let slope = (t - h) / 1e-6;
                product += slope * (g - h);
                square += slope * slope;
            }
        }
        if square.is_nan() || square <= 0.0 || !product.is_finite() {
            return Ok(None);
        }
        c *= (product / square).clamp(-1.0, 1.0).exp();
        bound = c * (allowed / square).sqrt();
    }
    Ok(Some(Estimate { value: c, bound }))
}

/// How many tokens a query sees, itself included; `None` unless at least two queries see fewer than there
/// are.
pub(super) fn window(e: &Evidence<'_>) -> Option<usize> {
    if e.context.site.kind != Kind::Scores {
        return None;
    }
    let t = e.got.width / e.config().num_attention_heads;
    let seen = |r: usize| e.got.row(r)[..t].iter().filter(|v| **v > f64::NEG_INFINITY).count();
    let widest = (0..e.got.len()).map(seen).max()?;
    let full = (0..e.got.len()).filter(|&r| e.positions[r] >= widest && seen(r) == widest).count();
    (full > 1 && widest > 0).then_some(widest)
}

/// Which key head each query head uses: the one whose products correlate best with the port's scores.
pub(super) fn map(e: &Evidence<'_>) -> Option<Vec<usize>> {
    let Some(Operation::Scores(right)) = e.node().map(|node| &node.operation) else { return None };
    let keys = e.given.as_ref()?.values.get(&e.node()?.inputs.get(1)?.node)?;
    let (q, t) = (e.input(0)?, e.context.pass.length());
    let slots = Slots::new(keys.places(), t);
    let batch: Vec<usize> = e.places.iter().map(|&(batch, _)| batch).collect();
    let on = |g: usize| {
        let all = Scores { heads: HeadMap::new(vec![g; right.heads.len()]), ..right.clone() };
        scores(&q, keys.rows(), &batch, &slots, &all, |_, _, _| true)
    };
    let all: Vec<Rows> = (0..e.config().num_key_value_heads).map(on).collect();
    let follows = |h: usize, predicted: &Rows| {
        let (mut gt, mut gg, mut tt) = (0.0, 0.0, 0.0);
        for r in 0..predicted.len() {
            for (&g, &p) in e.got.row(r)[h * t..][..t].iter().zip(&predicted.row(r)[h * t..][..t]) {
                if g.is_finite() && p.is_finite() {
                    gt += g * p;
                    gg += g * g;
                    tt += p * p;
                }
            }
        }
        gt / (gg * tt).sqrt()
    };
    let best = |h: usize| {
        let follow = all.iter().map(|predicted| follows(h, predicted)).enumerate();
        follow.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(g, _)| g)
    };
    (0..right.heads.len()).map(best).collect()
}
