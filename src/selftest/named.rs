//! What the judge took a planted mistake for: the seam to its diagnosis.

use std::collections::BTreeSet;

use crate::diagnose::{self, Diagnosis};
use crate::judge::{Finding, Outcome};
use crate::plants::Plant;

/// What the judge took a mistake for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Named {
    /// All that it named, likeliest first.
    pub names: Vec<&'static str>,
    /// The place of the planted mistake among them, from 1; none where it is not among them.
    pub rank: Option<usize>,
    /// How far the tensor is from what it would be under that mistake, in budgets.
    pub residual: f64,
    /// Named with it, since they make the very same tensor.
    pub alike: Vec<&'static str>,
    /// The best suspect that does not explain it, and its residual.
    pub runner_up: Option<(&'static str, f64)>,
}

/// The place of the planted mistake among all that the judge names, checkpoint by checkpoint.
pub(super) fn name(plant: &Plant, outcomes: &[Outcome]) -> Named {
    let all: Vec<&diagnose::Named> = outcomes.iter().flat_map(Outcome::named).collect();
    let mut seen = BTreeSet::new();
    let names: Vec<&str> = all.iter().map(|named| named.mistake).filter(|name| seen.insert(*name)).collect();
    let Some(own) = all.iter().find(|named| named.mistake == plant.name) else {
        return Named { names, ..Named::default() };
    };
    let of_it = |d: &&Diagnosis| d.named.iter().any(|named| named.mistake == plant.name);
    let explained = || explained(outcomes).filter(of_it);
    let others = explained().flat_map(|d| &d.named).map(|named| named.mistake);
    let alike: BTreeSet<&str> =
        others.filter(|other| *other != plant.name && names.contains(other)).collect();
    let runner_up = explained().find_map(|d| d.runner_up.as_ref());
    Named {
        rank: names.iter().position(|name| *name == plant.name).map(|place| place + 1),
        residual: own.residual,
        alike: alike.into_iter().collect(),
        runner_up: runner_up.map(|other| (other.mistake, other.residual)),
        names,
    }
}

fn explained(outcomes: &[Outcome]) -> impl Iterator<Item = &Diagnosis> {
    let failures = outcomes.iter().flat_map(Outcome::failures);
    failures.filter_map(|finding: &Finding| finding.explained.as_ref())
}
