//! Tries deviations on a site: each mistake alone, then two together.

use candle_core::DType;

use super::deviation::Deviation;
use super::fit::{Expected, Fit, distance, fit, weigh};
use super::run::run;
use super::support::{Contradiction, Number};
use super::{Diagnosis, Evidence, Named, RunnerUp};
use crate::Result;

/// Finds the deviations of one mistake that a port may make.
pub(super) struct Solver {
    /// The mistake's name in the catalogue.
    pub mistake: &'static str,
    /// Looks so: then it is tried before the others.
    pub fingerprint: fn(&Evidence<'_>) -> bool,
    /// The deviations of a port with this mistake, beside those that it makes already. None where the mistake would
    /// change nothing.
    pub solve: fn(&Evidence<'_>, &[Deviation]) -> Result<Vec<Candidate>>,
    /// Can it be one of two?
    pub pairs: bool,
}

/// A deviation, and what to say of a port that makes it.
pub(super) struct Candidate {
    /// The catalogue's name, where a solver can find several mistakes; the solver's own if `None`.
    pub mistake: Option<&'static str>,
    /// What is done otherwise.
    pub deviation: Deviation,
    /// What the port does, in the second person.
    pub says: String,
    /// The dtype that it rounds to, if its mistake is rounding: ties may fall either way.
    pub coarse: Option<DType>,
    /// What it was made to fit.
    pub number: Number,
}

impl Candidate {
    /// An exact deviation.
    pub fn new(deviation: Deviation, says: impl Into<String>) -> Self {
        Self { mistake: None, deviation, says: says.into(), coarse: None, number: Number::Listed }
    }

    /// With a number that was solved for.
    pub fn solved(self) -> Self {
        Self { number: Number::Real, ..self }
    }

    /// With the whole number, of so many, that fits.
    pub fn one_of(self, choices: usize) -> Self {
        Self { number: Number::Whole { choices }, ..self }
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
pub(super) struct Theory {
    /// The mistakes that it is made of, and what the port does.
    pub parts: Vec<(&'static str, String)>,
    pub fit: Fit,
    /// What it was made to fit.
    pub number: Number,
}

/// The residual up to which an honest run comes: under half the budget.
const HONEST: f64 = 0.5;

/// Which mistakes reproduce the port's rows?
///
/// Where the operation without deviations does not give what was wanted, nothing is known that a theory could stand
/// on, and nothing is named.
///
/// # Errors
/// A tensor that cannot be read.
pub(super) fn search(e: &Evidence<'_>, solvers: &[Solver]) -> Result<Diagnosis> {
    let Some(right) = run(e, &[])? else { return Ok(Diagnosis::default()) };
    // Where the oracle does not give what was wanted, the weights or the prefill are wrong already;
    // where it gives what the port gave, the operation is right.
    if distance(e, &right, &e.want, None).residual > 1.0 || fit(e, Some(&right), None).residual <= 1.0 {
        return Ok(Diagnosis::default());
    }
    let mut order: Vec<&Solver> = solvers.iter().collect();
    order.sort_by_key(|solver| !(solver.fingerprint)(e));
    let mut theories = Vec::new();
    for solver in &order {
        for found in (solver.solve)(e, &[])? {
            let made = [found.deviation.clone()];
            let fit = weigh(e, &right, run(e, &made)?.as_ref(), found.coarse);
            let number = found.number;
            theories.push(Theory { parts: vec![part(solver, found)], fit, number });
        }
    }
    if theories.iter().all(|theory| theory.fit.residual > 1.0) {
        theories.extend(pairs(e, &right, solvers)?);
    }
    Ok(decide(e, theories))
}

/// Two mistakes of one operation, made in the order of the list: what is solved for comes last and
/// is solved for under the other.
fn pairs(e: &Evidence<'_>, right: &Expected, solvers: &[Solver]) -> Result<Vec<Theory>> {
    let mut theories = Vec::new();
    for (n, first) in solvers.iter().enumerate().filter(|(_, solver)| solver.pairs) {
        for one in (first.solve)(e, &[])? {
            for second in solvers[n + 1..].iter().filter(|solver| solver.pairs) {
                for two in (second.solve)(e, std::slice::from_ref(&one.deviation))? {
                    let made = [one.deviation.clone(), two.deviation.clone()];
                    let fit = weigh(e, right, run(e, &made)?.as_ref(), two.coarse.or(one.coarse));
                    let number = one.number.and(two.number);
                    let name = one.mistake.unwrap_or(first.mistake);
                    let parts = vec![(name, one.says.clone()), part(second, two)];
                    theories.push(Theory { parts, fit, number });
                }
            }
        }
    }
    Ok(theories)
}

fn part(solver: &Solver, found: Candidate) -> (&'static str, String) {
    (found.mistake.unwrap_or(solver.mistake), found.says)
}

/// Named is what lies within budget, if the port's rows contradict the right operation strongly enough. Where some
/// theories fit as well as an honest run does, those that fit worse are not named; where several fit alike, all are.
pub(super) fn decide(e: &Evidence<'_>, mut theories: Vec<Theory>) -> Diagnosis {
    let (contradiction, tried) = (Contradiction::of(e), theories.len());
    theories.sort_by(|a, b| a.fit.residual.total_cmp(&b.fit.residual));
    let best = theories.first().map_or(f64::INFINITY, |theory| theory.fit.residual);
    let limit = if best <= HONEST { HONEST } else { 1.0 };
    let mut diagnosis = Diagnosis::default();
    for Theory { parts, fit, number } in theories {
        let supported = contradiction.supports(fit, tried, number);
        for (mistake, says) in parts {
            let known = diagnosis.named.iter().any(|named| named.mistake == mistake);
            if fit.residual <= limit && supported && !known {
                diagnosis.named.push(Named::new(mistake, says).at(fit));
            } else if fit.residual > limit && !known && diagnosis.runner_up.is_none() {
                diagnosis.runner_up = Some(RunnerUp { mistake, residual: fit.residual });
            }
        }
    }
    diagnosis
}
