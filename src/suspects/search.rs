//! Tries theories on a site: each mistake alone, then two together.

use candle_core::DType;

use super::fit::{Expected, Fit, distance, fit};
use super::{Diagnosis, Evidence, Named, RunnerUp};
use crate::Result;

/// A mistake in an operation whose every choice stands in `K`.
pub struct Twist<K: 'static> {
    /// Its name in the catalogue.
    pub mistake: &'static str,
    /// Looks so: then it is tried before the others.
    pub fingerprint: fn(&Evidence<'_>) -> bool,
    /// The choices that a port with this mistake makes, beside those made already. None where the
    /// mistake would change nothing.
    pub turn: fn(&Evidence<'_>, &K) -> Result<Vec<Turned<K>>>,
    /// Can it be one of two?
    pub pairs: bool,
}

/// The choices under a mistake.
pub struct Turned<K> {
    /// The catalogue's name, where a twist can be several of them; its own if `None`.
    pub mistake: Option<&'static str>,
    /// The choices.
    pub knobs: K,
    /// What the port does, in the second person.
    pub says: String,
    /// What to do about it.
    pub fix: String,
    /// The dtype that it rounds to, if its mistake is rounding: ties may fall either way.
    pub coarse: Option<DType>,
}

impl<K> Turned<K> {
    /// Exact choices.
    pub fn new(knobs: K, says: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { mistake: None, knobs, says: says.into(), fix: fix.into(), coarse: None }
    }

    /// The same under another name of the catalogue.
    pub fn named(self, mistake: &'static str) -> Self {
        Self { mistake: Some(mistake), ..self }
    }

    /// Rounding to `coarse`.
    pub fn rounding(self, coarse: DType) -> Self {
        Self { coarse: Some(coarse), ..self }
    }
}

/// One theory and how it fits.
pub struct Theory {
    parts: Vec<(&'static str, String, String)>,
    fit: Fit,
}

impl Theory {
    /// One mistake alone: its name, what the port does and what to do about it.
    pub fn new(mistake: &'static str, says: String, fix: String, fit: Fit) -> Self {
        Self { parts: vec![(mistake, says, fix)], fit }
    }
}

/// The residual up to which an honest run comes: under half the budget.
const HONEST: f64 = 0.5;

/// Which mistakes reproduce the port's rows?
///
/// `honest` are the right choices and `run` the operation. Where it does not give stored truth by
/// them, nothing is known that a theory could stand on, and nothing is named.
///
/// # Errors
/// A tensor that cannot be read.
pub fn search<K: Clone>(
    e: &Evidence<'_>,
    honest: &K,
    run: fn(&Evidence<'_>, &K) -> Result<Option<Expected>>,
    twists: &[Twist<K>],
) -> Result<Diagnosis> {
    let Some(right) = run(e, honest)? else { return Ok(Diagnosis::default()) };
    // Where the oracle does not give what was wanted, the weights or the prefill are wrong already;
    // where it gives what the port gave, the operation is right.
    if distance(e, &right, &e.want, None).residual > 1.0 || fit(e, Some(&right), None).residual <= 1.0 {
        return Ok(Diagnosis::default());
    }
    let mut order: Vec<&Twist<K>> = twists.iter().collect();
    order.sort_by_key(|twist| !(twist.fingerprint)(e));
    let mut theories = Vec::new();
    for twist in &order {
        for turned in (twist.turn)(e, honest)? {
            let fit = fit(e, run(e, &turned.knobs)?.as_ref(), turned.coarse);
            theories.push(Theory { parts: vec![part(twist, turned)], fit });
        }
    }
    if theories.iter().all(|theory| theory.fit.residual > 1.0) {
        theories.extend(pairs(e, honest, run, twists)?);
    }
    Ok(decide(theories))
}

/// Two mistakes of one operation, made in the order of the list: what is solved for comes last and
/// is solved for under the other.
fn pairs<K: Clone>(
    e: &Evidence<'_>,
    honest: &K,
    run: fn(&Evidence<'_>, &K) -> Result<Option<Expected>>,
    twists: &[Twist<K>],
) -> Result<Vec<Theory>> {
    let mut theories = Vec::new();
    for (n, first) in twists.iter().enumerate().filter(|(_, twist)| twist.pairs) {
        for one in (first.turn)(e, honest)? {
            for second in twists[n + 1..].iter().filter(|twist| twist.pairs) {
                for two in (second.turn)(e, &one.knobs)? {
                    let fit = fit(e, run(e, &two.knobs)?.as_ref(), two.coarse.or(one.coarse));
                    let name = one.mistake.unwrap_or(first.mistake);
                    let parts = vec![(name, one.says.clone(), one.fix.clone()), part(second, two)];
                    theories.push(Theory { parts, fit });
                }
            }
        }
    }
    Ok(theories)
}

fn part<K>(twist: &Twist<K>, turned: Turned<K>) -> (&'static str, String, String) {
    (turned.mistake.unwrap_or(twist.mistake), turned.says, turned.fix)
}

/// Named is what lies within budget. Where some fit as well as an honest run does, those that fit
/// worse are not named; where several fit alike, all are.
pub fn decide(mut theories: Vec<Theory>) -> Diagnosis {
    theories.sort_by(|a, b| a.fit.residual.total_cmp(&b.fit.residual));
    let best = theories.first().map_or(f64::INFINITY, |theory| theory.fit.residual);
    let limit = if best <= HONEST { HONEST } else { 1.0 };
    let mut diagnosis = Diagnosis::default();
    for Theory { parts, fit } in theories {
        let fits = fit.residual <= limit;
        for (mistake, says, fix) in parts {
            let known = diagnosis.named.iter().any(|named| named.mistake == mistake);
            if fits && !known {
                diagnosis.named.push(Named { mistake, says, fix, residual: fit.residual, flips: fit.flips });
            } else if !fits && !known && diagnosis.runner_up.is_none() {
                diagnosis.runner_up = Some(RunnerUp { mistake, residual: fit.residual });
            }
        }
    }
    diagnosis
}
