//! Decides when a hypothesis that fits may be named. It compares, in bits, how strongly the port's rows
//! contradict the correct operation with what the best of all tried hypotheses may reach by chance.

use super::Evidence;
use super::diagnosis::{Details, Part};
use super::fit::{Expected, Fit, fit};

/// How strongly the port's rows contradict the correct operation.
#[derive(Clone, Debug)]
pub(super) struct Contradiction {
    /// The distance of the correct rows from the port's, in budgets.
    residual: f64,
    /// The distance of each correct entry from the port's, in budgets.
    errors: Vec<f64>,
}

/// The most bits that one entry may count: the precision of a float32, however large the error.
const MOST_BITS: f64 = 24.0;

/// The cost of a solved number: it is one of as many values as a float32 can distinguish.
const NUMBER_BITS: f64 = 24.0;

/// The bits that a hypothesis must explain beyond those that the best of all tried ones may reach by chance.
const SPARE_BITS: f64 = 20.0;

/// How many times closer to the port's rows than the correct operation a hypothesis with a solved number must
/// be: some ε explains every error that is only just over budget.
const NEARER: f64 = 10.0;

/// The free number of a hypothesis that was chosen to fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// None: the hypothesis is one of a list.
    Listed,
    /// A whole number: the one of `choices` that fits.
    Whole { choices: usize },
    /// A real number that was solved for.
    Real,
}

impl Number {
    /// The free number of a hypothesis with two deviations.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Real, _) | (_, Self::Real) => Self::Real,
            (Self::Whole { choices }, Self::Whole { choices: others }) => {
                Self::Whole { choices: choices.saturating_mul(others) }
            }
            (Self::Listed, other) | (other, Self::Listed) => other,
        }
    }

    /// Its cost in bits.
    fn bits(self) -> f64 {
        match self {
            Self::Listed => 0.0,
            Self::Whole { choices } => (choices.max(1) as f64).log2(),
            Self::Real => NUMBER_BITS,
        }
    }
}

/// The share of a budget that correct arithmetic's noise takes: no hypothesis predicts an entry more closely.
const NOISE: f64 = 0.1;

impl Contradiction {
    /// The contradiction of the port's rows.
    pub fn of(e: &Evidence<'_>) -> Self {
        let right = Expected::from(e.want.clone());
        let errors = (0..e.got.len()).flat_map(|r| {
            let budget = e.budget(r, e.want.row(r)).max;
            let pairs = e.got.row(r).iter().zip(e.want.row(r));
            pairs.map(move |(got, want)| if got == want { 0.0 } else { (got - want).abs() / budget })
        });
        Self { errors: errors.collect(), residual: fit(e, Some(&right), None).residual }
    }

    /// Whether it is strong enough to name `hypothesis`, the best of `tried` hypotheses.
    pub fn supports(&self, hypothesis: Fit, tried: usize, number: Number) -> bool {
        let nearer = if number == Number::Real { NEARER } else { 1.0 };
        let bits = self.bits(most(hypothesis, number));
        hypothesis.residual * nearer <= self.residual && bits > by_chance(tried, number)
    }

    /// The evidence for `hypothesis`, the best of `tried`, as data.
    pub fn details(&self, part: Part, hypothesis: Fit, tried: usize, number: Number) -> Details {
        Details {
            part,
            tried,
            correct_residual: self.residual,
            evidence_bits: self.bits(most(hypothesis, number)),
            required_bits: by_chance(tried, number),
        }
    }

    /// Σ log2(error of the correct rows / `most`) over the entries whose error is more than `most` budgets.
    /// NaN and infinite errors count as the largest possible.
    fn bits(&self, most: f64) -> f64 {
        let bits =
            |&error: &f64| if error.is_nan() { MOST_BITS } else { (error / most).log2().min(MOST_BITS) };
        self.errors.iter().map(bits).filter(|bits| *bits > 0.0).sum()
    }
}

/// The bits that the best of `tried` hypotheses may reach by chance, and some to spare.
fn by_chance(tried: usize, number: Number) -> f64 {
    (tried.max(1) as f64).log2() + number.bits() + SPARE_BITS
}

/// The error up to which an entry agrees with the hypothesis, in budgets. With a solved number a small residual
/// proves nothing, because the number was chosen to make it small.
fn most(hypothesis: Fit, number: Number) -> f64 {
    match number {
        Number::Real => 1.0,
        Number::Listed | Number::Whole { .. } => hypothesis.residual.max(NOISE),
    }
}
