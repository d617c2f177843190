//! Decides which of the hypotheses that were tried may be named.

use candle_core::DType;

use super::diagnosis::Part;
use super::fit::{Expected, Fit, distance};
use super::support::{Contradiction, Number};
use super::{Alternative, Diagnosis, Evidence, Named, RunnerUp};

/// One hypothesis and how well it fits.
pub(super) struct Hypothesis {
    /// The mistakes that it consists of.
    parts: Vec<Suspected>,
    fit: Fit,
    /// The free number that was chosen to fit.
    number: Number,
    /// What it predicts; `None` if that is far from the port's tensor.
    predicted: Option<Expected>,
}

/// A mistake of a hypothesis.
pub(super) struct Suspected {
    /// Its name.
    pub mistake: &'static str,
    /// What the port does and what it should do, in the second person.
    pub says: String,
    /// The same as data.
    pub part: Part,
}

/// The hypotheses that were tried on a site.
#[derive(Default)]
pub(super) struct Hypotheses {
    /// Simple and likely ones first. Of those of a long search, only the close ones.
    all: Vec<Hypothesis>,
    /// How many were tried.
    count: usize,
}

/// The residual that the right hypothesis can reach: half the budget.
pub(super) const CLOSE: f64 = 0.5;

/// A budget is about ten times the rounding error of correct arithmetic, so the right hypothesis leaves about a
/// tenth of it, and rarely more than this.
const ROUNDING: f64 = 0.2;

/// A hypothesis that leaves so many times more than the best one is not what the port did.
const WORSE: f64 = 2.0;

/// Predictions that differ by at most so many budgets cannot be distinguished.
const INSEPARABLE: f64 = 0.25;

impl Hypothesis {
    pub fn new(parts: Vec<Suspected>, fit: Fit, number: Number, predicted: Option<Expected>) -> Self {
        let near = predicted.filter(|_| fit.residual <= 1.0);
        Self { parts, fit, number, predicted: near }
    }

    /// Whether it explains the port's rows.
    pub fn is_close(&self) -> bool {
        self.fit.residual <= CLOSE
    }

    /// Whether its prediction is within the budget.
    pub fn is_near(&self) -> bool {
        self.fit.residual <= 1.0
    }

    /// Whether the two predict the same, as far as the budgets can show.
    fn equals(&self, e: &Evidence<'_>, other: &Self) -> bool {
        let pair = self.predicted.as_ref().zip(other.predicted.as_ref());
        pair.is_some_and(|(own, other)| distance(e, own, &other.rows, None).residual <= INSEPARABLE)
    }
}

impl Hypotheses {
    /// All that were tried.
    pub fn all(all: Vec<Hypothesis>) -> Self {
        Self { count: all.len(), all }
    }

    /// Those that are left of `count`.
    pub fn of(all: Vec<Hypothesis>, count: usize) -> Self {
        Self { all, count }
    }

    /// Adds those of a later search.
    pub fn extend(&mut self, later: Self) {
        self.all.extend(later.all);
        self.count += later.count;
    }

    /// Names the hypotheses that fit, if the port's rows contradict the correct operation strongly enough. If
    /// several fit equally well, all are named, because each of them may be what the port does.
    pub fn decide(&self, e: &Evidence<'_>) -> Diagnosis {
        let (contradiction, limit) = (Contradiction::of(e), self.limit(e.context.dtype));
        let close = |h: &Hypothesis| h.fit.residual <= limit;
        let named = |h: &&Hypothesis| close(h) && contradiction.supports(h.fit, self.count, h.number);
        let named = self.all.iter().filter(named).collect();
        let mut diagnosis = Diagnosis::default();
        for group in distinct(e, likeliest(named)) {
            let (simplest, same_as) = (group.simplest, group.same_as());
            let fit = simplest.fit;
            for Suspected { mistake, says, part } in &simplest.parts {
                let details = contradiction.details(part.clone(), fit, self.count, simplest.number);
                let named = Named::new(mistake, says).at(fit);
                diagnosis.named.push(Named { same_as: same_as.clone(), details: Some(details), ..named });
            }
        }
        // One within the budget is too near: it would be taken for a name.
        let unnamed = |h: &&Hypothesis| !h.parts.iter().any(|part| diagnosis.names(part.mistake));
        let nearest = |a: &&Hypothesis, b: &&Hypothesis| a.fit.residual.total_cmp(&b.fit.residual);
        let next = self.all.iter().filter(|h| !h.is_near()).filter(unnamed).min_by(nearest);
        diagnosis.runner_up =
            next.map(|h| RunnerUp { mistake: h.parts[0].mistake, residual: h.fit.residual });
        diagnosis
    }

    /// How much of the budget a hypothesis may leave. In f32, where budgets are narrow, the whole budget if none
    /// leaves half of it.
    fn limit(&self, dtype: DType) -> f64 {
        if dtype != DType::F32 || self.all.iter().any(Hypothesis::is_close) { CLOSE } else { 1.0 }
    }

    /// Whether one of them with this mistake explains the port's rows.
    pub fn explains(&self, mistake: &str) -> bool {
        self.all.iter().any(|h| h.is_near() && h.parts.iter().any(|part| part.mistake == mistake))
    }

    /// All but those that contain this mistake.
    pub fn without(mut self, mistake: &str) -> Self {
        self.all.retain(|h| h.parts.iter().all(|part| part.mistake != mistake));
        self
    }
}

/// Hypotheses with one prediction.
struct Group<'a> {
    simplest: &'a Hypothesis,
    equal: Vec<&'a Hypothesis>,
}

impl Group<'_> {
    /// Whether one of them has no solved number.
    fn has_listed(&self) -> bool {
        self.equal.iter().chain([&self.simplest]).any(|h| h.number != Number::Real)
    }

    /// The names of the others. Two searches may have tried the same deviation.
    fn same_as(&self) -> Vec<Alternative> {
        let mut all: Vec<Alternative> = Vec::new();
        for Suspected { mistake, says, .. } in self.equal.iter().flat_map(|other| &other.parts) {
            let known = self.simplest.parts.iter().any(|part| part.says == *says);
            if !known && !all.iter().any(|other| other.says == *says) {
                all.push(Alternative { mistake, says: says.clone() });
            }
        }
        // Another mistake says more than a variant of the one that is named.
        all.sort_by_key(|other| self.simplest.parts.iter().any(|part| part.mistake == other.mistake));
        all
    }
}

/// The hypotheses that leave no more than rounding errors, or hardly more than the best.
fn likeliest(mut all: Vec<&Hypothesis>) -> Vec<&Hypothesis> {
    let best = all.iter().map(|h| h.fit.residual).fold(f64::INFINITY, f64::min);
    all.retain(|h| h.fit.residual <= (WORSE * best).max(ROUNDING));
    all
}

/// The simplest hypothesis of each prediction and those that predict the same, the best fit first. A number that was
/// solved for is not needed where a listed deviation predicts something else that fits.
fn distinct<'a>(e: &Evidence<'_>, all: Vec<&'a Hypothesis>) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for hypothesis in all {
        match groups.iter_mut().find(|group| group.simplest.equals(e, hypothesis)) {
            Some(group) => group.equal.push(hypothesis),
            None => groups.push(Group { simplest: hypothesis, equal: vec![] }),
        }
    }
    if groups.iter().any(Group::has_listed) {
        groups.retain(Group::has_listed);
    }
    groups.sort_by(|a, b| a.simplest.fit.residual.total_cmp(&b.simplest.fit.residual));
    groups
}
