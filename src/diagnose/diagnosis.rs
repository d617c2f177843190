//! What is thought of a red site: the mistakes that explain it.

use super::fit::Fit;
use crate::mistakes;

/// What is thought of a red site.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diagnosis {
    /// The mistakes that explain it: one; two made together; or several that explain it equally.
    /// Empty: unexplained.
    pub named: Vec<Named>,
    /// The best of what does not explain it.
    pub runner_up: Option<RunnerUp>,
}

/// A mistake that explains a site.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    /// Its name in the catalogue: `rope-pairing`.
    pub mistake: &'static str,
    /// What the port does, in the second person.
    pub says: String,
    /// What to do about it.
    pub fix: String,
    /// The distance of what it predicts from what the port gave, in budgets; 0 where it is named by
    /// an exact fingerprint.
    pub residual: f64,
    /// Entries that one rounding tells apart, left out of the residual.
    pub flips: usize,
}

impl Named {
    /// A mistake that an exact fingerprint shows. What to do about it stands in the catalogue.
    pub fn new(mistake: &'static str, says: impl Into<String>) -> Self {
        let fix = mistakes::find(mistake).map_or_else(String::new, |known| known.fix.to_owned());
        Self { mistake, says: says.into(), fix, residual: 0.0, flips: 0 }
    }

    /// The same, so far from what the port gave.
    pub(super) fn at(self, fit: Fit) -> Self {
        Self { residual: fit.residual, flips: fit.flips, ..self }
    }
}

/// A mistake that comes near a site without explaining it.
#[derive(Clone, Debug, PartialEq)]
pub struct RunnerUp {
    /// Its name in the catalogue.
    pub mistake: &'static str,
    /// Its distance, in budgets.
    pub residual: f64,
}
