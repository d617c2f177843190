//! Searches for the deviations that reproduce a site: each mistake alone, then two together.

use candle_core::DType;

use super::Evidence;
use super::decide::{Hypotheses, Hypothesis, Suspected};
use super::deviation::{Deviation, described};
use super::fit::{Expected, distance, fit, weigh};
use super::run::run;
use super::support::Number;
use crate::Result;

/// Proposes the deviations of one mistake.
pub(super) struct Solver {
    /// The mistake's name in the catalogue.
    pub mistake: &'static str,
    /// Whether the evidence looks like this mistake; it is then tried before the others.
    pub fingerprint: fn(&Evidence<'_>) -> bool,
    /// The deviations of a port with this mistake, on top of the given ones. Empty if the mistake would
    /// change nothing.
    pub solve: fn(&Evidence<'_>, &[Deviation]) -> Result<Vec<Candidate>>,
    /// Whether this mistake is also tried together with a second one.
    pub pairs: bool,
}

/// A deviation, and the message about a port that has it.
#[derive(Clone)]
pub(super) struct Candidate {
    /// The mistake's name in the catalogue, for a solver that can find several; the solver's own name if
    /// `None`.
    pub mistake: Option<&'static str>,
    /// What the port computes differently.
    pub deviation: Deviation,
    /// What the port does and what it should do, in the second person.
    pub says: String,
    /// The dtype that it rounds to, if the mistake is about rounding: ties may be rounded either way.
    pub coarse: Option<DType>,
    /// The free number that was chosen to fit.
    pub number: Number,
}

impl Candidate {
    /// An exact deviation.
    pub fn new(deviation: Deviation, says: impl Into<String>) -> Self {
        Self { mistake: None, deviation, says: says.into(), coarse: None, number: Number::Listed }
    }

    /// Marks that one number of it was solved for.
    pub fn solved(self) -> Self {
        Self { number: Number::Real, ..self }
    }

    /// Marks that its whole number was chosen to fit, from so many.
    pub fn one_of(self, choices: usize) -> Self {
        Self { number: Number::Whole { choices }, ..self }
    }

    /// The same under another mistake's name from the catalogue.
    pub fn named(self, mistake: &'static str) -> Self {
        Self { mistake: Some(mistake), ..self }
    }

    /// Marks that it rounds to `coarse`.
    pub fn rounding(self, coarse: DType) -> Self {
        Self { coarse: Some(coarse), ..self }
    }
}

/// Finds the mistakes that reproduce the port's rows.
///
/// If the operation without deviations does not give the wanted rows, a hypothesis cannot be tested, so
/// none is returned.
///
/// # Errors
/// A tensor cannot be read.
pub(super) fn search(e: &Evidence<'_>, solvers: &[Solver]) -> Result<Hypotheses> {
    let Some(right) = run(e, &[])? else { return Ok(Hypotheses::default()) };
    // If the oracle does not give the wanted rows, the weights or the prefill are already wrong; if it gives
    // the port's rows, the operation is right.
    if distance(e, &right, &e.want, None).residual > 1.0 || fit(e, Some(&right), None).residual <= 1.0 {
        return Ok(Hypotheses::default());
    }
    let mut order: Vec<&Solver> = solvers.iter().collect();
    order.sort_by_key(|solver| !(solver.fingerprint)(e));
    let mut hypotheses = Vec::new();
    for solver in &order {
        for found in (solver.solve)(e, &[])? {
            let made = [found.deviation.clone()];
            let predicted = run(e, &made)?;
            let fit = weigh(e, &right, predicted.as_ref(), found.coarse);
            let number = found.number;
            hypotheses.push(Hypothesis::new(vec![part(e, solver, found)], fit, number, predicted));
        }
    }
    if hypotheses.iter().all(|hypothesis| !hypothesis.is_near()) {
        hypotheses.extend(pairs(e, &right, solvers)?);
    }
    Ok(Hypotheses::all(hypotheses))
}

/// Tries two mistakes of one operation together, in the order of the list. The second is solved for with the
/// first in place, so solvers for numbers come last in the list.
fn pairs(e: &Evidence<'_>, right: &Expected, solvers: &[Solver]) -> Result<Vec<Hypothesis>> {
    let mut hypotheses = Vec::new();
    for (n, first) in solvers.iter().enumerate().filter(|(_, solver)| solver.pairs) {
        for one in (first.solve)(e, &[])? {
            for second in solvers[n + 1..].iter().filter(|solver| solver.pairs) {
                for two in (second.solve)(e, std::slice::from_ref(&one.deviation))? {
                    let made = [one.deviation.clone(), two.deviation.clone()];
                    let predicted = run(e, &made)?;
                    let fit = weigh(e, right, predicted.as_ref(), two.coarse.or(one.coarse));
                    let number = one.number.and(two.number);
                    let parts = vec![part(e, first, one.clone()), part(e, second, two)];
                    hypotheses.push(Hypothesis::new(parts, fit, number, predicted));
                }
            }
        }
    }
    Ok(hypotheses)
}

fn part(e: &Evidence<'_>, solver: &Solver, found: Candidate) -> Suspected {
    let part = described(e.node(), &[found.deviation]);
    Suspected { mistake: found.mistake.unwrap_or(solver.mistake), says: found.says, part }
}
