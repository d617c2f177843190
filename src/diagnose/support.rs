//! When a theory that fits may be named: what the port's rows say against the right operation, in bits, and what
//! chance gives the best of all theories that were tried.

use super::Evidence;
use super::fit::{Expected, Fit, fit};

/// How strongly the port's rows contradict the right operation.
#[derive(Clone, Debug)]
pub(super) struct Contradiction {
    /// The distance of the right rows from the port's, in budgets.
    residual: f64,
    /// The error of each entry of the right rows, in budgets.
    errors: Vec<f64>,
}

/// One entry says no more than a float32 can hold, however far it is off.
const MOST_BITS: f64 = 24.0;

/// A number that is solved for is one of as many as a float32 tells apart.
const NUMBER_BITS: f64 = 24.0;

/// What a theory must explain beyond the bits that chance gives the best of all that were tried.
const SPARE_BITS: f64 = 20.0;

/// How many times nearer than the right operation a theory must be to the port's rows if a number of it was solved
/// for: some ε explains every error of little more than a budget.
const NEARER: f64 = 10.0;

/// What a theory was made to fit by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// Nothing: it is one of a list.
    Listed,
    /// A whole number, the one of so many that fits.
    Whole { choices: usize },
    /// A number that was solved for.
    Real,
}

impl Number {
    /// That of a theory with two deviations.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Real, _) | (_, Self::Real) => Self::Real,
            (Self::Whole { choices }, Self::Whole { choices: others }) => {
                Self::Whole { choices: choices.saturating_mul(others) }
            }
            (Self::Listed, other) | (other, Self::Listed) => other,
        }
    }

    /// The bits that it is paid with.
    fn bits(self) -> f64 {
        match self {
            Self::Listed => 0.0,
            Self::Whole { choices } => (choices.max(1) as f64).log2(),
            Self::Real => NUMBER_BITS,
        }
    }
}

/// The share of a budget that honest noise takes: no theory predicts an entry more closely.
const NOISE: f64 = 0.1;

impl Contradiction {
    /// Of what the port gave.
    pub fn of(e: &Evidence<'_>) -> Self {
        let right = Expected::from(e.want.clone());
        let errors = (0..e.got.len()).flat_map(|r| {
            let budget = e.budget(r, e.want.row(r)).max;
            let pairs = e.got.row(r).iter().zip(e.want.row(r));
            pairs.map(move |(got, want)| if got == want { 0.0 } else { (got - want).abs() / budget })
        });
        Self { errors: errors.collect(), residual: fit(e, Some(&right), None).residual }
    }

    /// Is it enough to name the best of `tried` theories, which fits so?
    pub fn supports(&self, theory: Fit, tried: usize, number: Number) -> bool {
        let by_chance = (tried.max(1) as f64).log2() + number.bits() + SPARE_BITS;
        // However near a number comes that was solved for: it was made to come near.
        let (nearer, most) = match number {
            Number::Real => (NEARER, 1.0),
            Number::Listed | Number::Whole { .. } => (1.0, theory.residual.max(NOISE)),
        };
        theory.residual * nearer <= self.residual && self.bits(most) > by_chance
    }

    /// Σ log2(error of the right rows / `most`) over the entries where it is more than `most` budgets. NaN and
    /// infinities are as far off as can be.
    fn bits(&self, most: f64) -> f64 {
        let bits =
            |&error: &f64| if error.is_nan() { MOST_BITS } else { (error / most).log2().min(MOST_BITS) };
        self.errors.iter().map(bits).filter(|bits| *bits > 0.0).sum()
    }
}
