//! The mistakes that explain a failing site, as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Number;
use crate::diagnose;

/// The diagnosis of one failing site.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Suspects {
    /// The mistakes that explain it: one, two made together, or several that explain it equally well. Empty
    /// if unexplained.
    pub named: Vec<Named>,
    /// The closest mistake that does not explain it, if any came near.
    pub runner_up: Option<RunnerUp>,
}

/// A mistake that explains a site.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Named {
    /// Its name in the catalogue: `rope-pairing`.
    pub mistake: String,
    /// What the port does, in the second person.
    pub says: String,
    /// How to fix it.
    pub fix: String,
    /// The distance between its prediction and the port's tensor, in budgets; 0 if an exact fingerprint names
    /// it.
    pub residual: Number,
    /// Entries that differ by one rounding step; they are left out of the residual.
    pub flips: usize,
    /// Other deviations that give the same tensor, as far as the recorded tensors show.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub same_as: Vec<Alternative>,
    /// The same as data; absent if an exact fingerprint names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
}

/// What deviates where, and how strong the evidence is.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Details {
    /// The first operation that deviates: `norm`.
    pub operation: String,
    /// The sites of all operations that deviate, in the order of the pass.
    pub sites: Vec<String>,
    /// What is changed at each of them.
    pub changes: Vec<Changed>,
    /// The number of deviations that were tried.
    pub tried: usize,
    /// The distance of the correct operation's tensor from the port's, in budgets.
    pub correct_residual: Number,
    /// How strongly the port's rows contradict the correct operation, in bits.
    pub evidence_bits: Number,
    /// The bits that the best of all tried deviations may reach by chance, and 20 more.
    pub required_bits: Number,
}

/// One change of an operation.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Changed {
    /// Its kind: `eps`.
    pub kind: String,
    /// Its numbers by name, as the port uses them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub numbers: BTreeMap<String, Number>,
}

/// A deviation that cannot be distinguished from the one that is named.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Alternative {
    /// Its name.
    pub mistake: String,
    /// What the port would do, in the second person.
    pub says: String,
}

/// The closest mistake that does not explain it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct RunnerUp {
    /// Its name in the catalogue.
    pub mistake: String,
    /// Its distance, in budgets.
    pub residual: Number,
}

impl Suspects {
    pub(super) fn of(diagnosis: &diagnose::Diagnosis) -> Self {
        let alternative = |other: &diagnose::Alternative| Alternative {
            mistake: other.mistake.into(),
            says: other.says.clone(),
        };
        let named = |named: &diagnose::Named| Named {
            mistake: named.mistake.into(),
            says: named.says.clone(),
            fix: named.fix.clone(),
            residual: Number(named.residual),
            flips: named.flips,
            same_as: named.same_as.iter().map(alternative).collect(),
            details: named.details.as_ref().map(Details::of),
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

impl Details {
    fn of(details: &diagnose::Details) -> Self {
        let changed = |change: &diagnose::Changed| Changed {
            kind: change.kind.clone(),
            numbers: change
                .numbers
                .iter()
                .map(|number| (number.name.clone(), Number(number.value)))
                .collect(),
        };
        Self {
            operation: details.part.operation.clone(),
            sites: details.part.sites.clone(),
            changes: details.part.changes.iter().map(changed).collect(),
            tried: details.tried,
            correct_residual: Number(details.correct_residual),
            evidence_bits: Number(details.evidence_bits),
            required_bits: Number(details.required_bits),
        }
    }
}
