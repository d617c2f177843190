//! What mistakes explain a red site, as JSON.

use serde::{Deserialize, Serialize};

use super::Number;
use crate::diagnose;

/// What is thought of one red site.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Suspects {
    /// The mistakes that explain it: one; two made together; or several that explain it equally.
    /// None: unexplained.
    pub named: Vec<Named>,
    /// The best of what does not explain it, where anything was tried that comes near.
    pub runner_up: Option<RunnerUp>,
}

/// A mistake that explains a site.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Named {
    /// Its name in the catalogue: `rope-pairing`.
    pub mistake: String,
    /// What the port does, in the second person.
    pub says: String,
    /// What to do about it.
    pub fix: String,
    /// The distance of what it predicts from what the port gave, in budgets; 0 where it is named by
    /// an exact fingerprint.
    pub residual: Number,
    /// Entries that one rounding tells apart, left out of the residual.
    pub flips: usize,
}

/// A mistake that comes near without explaining it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RunnerUp {
    /// Its name in the catalogue.
    pub mistake: String,
    /// Its distance, in budgets.
    pub residual: Number,
}

impl Suspects {
    pub(super) fn of(diagnosis: &diagnose::Diagnosis) -> Self {
        let named = |named: &diagnose::Named| Named {
            mistake: named.mistake.into(),
            says: named.says.clone(),
            fix: named.fix.clone(),
            residual: Number(named.residual),
            flips: named.flips,
        };
        let runner_up = |next: &diagnose::RunnerUp| RunnerUp {
            mistake: next.mistake.into(),
            residual: Number(next.residual),
        };
        Self {
            named: diagnosis.named.iter().map(named).collect(),
            runner_up: diagnosis.runner_up.as_ref().map(runner_up),
        }
    }
}
