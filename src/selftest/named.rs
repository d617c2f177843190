//! Collects the mistakes that the judge named for a plant.

use std::collections::BTreeSet;

use crate::diagnose::{self, Diagnosis};
use crate::judge::{Finding, Outcome};
use crate::plants::Plant;

/// The mistakes that the judge named for a plant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Naming {
    /// All named mistakes, most likely first.
    pub names: Vec<&'static str>,
    /// The rank of the planted mistake among them, from 1; `None` if it is not among them.
    pub rank: Option<usize>,
    /// The distance of the tensor from the one that this mistake predicts, in budgets.
    pub residual: f64,
    /// Mistakes that were named together with it because they predict the same tensor.
    pub alike: Vec<&'static str>,
    /// The closest mistake that does not explain the tensor, and its residual.
    pub runner_up: Option<(&'static str, f64)>,
}

/// Finds the planted mistake among all that the judge named, checkpoint by checkpoint.
pub(super) fn name(plant: &Plant, outcomes: &[Outcome]) -> Naming {
    let all: Vec<&diagnose::Named> = outcomes.iter().flat_map(Outcome::named).collect();
    let mut seen = BTreeSet::new();
    let names: Vec<&str> = all.iter().map(|named| named.mistake).filter(|name| seen.insert(*name)).collect();
    let Some(own) = all.iter().find(|named| named.mistake == plant.name) else {
        return Naming { names, ..Naming::default() };
    };
    let of_it = |d: &&Diagnosis| d.named.iter().any(|named| named.mistake == plant.name);
    let explained = || explained(outcomes).filter(of_it);
    let others = explained().flat_map(|d| &d.named).map(|named| named.mistake);
    let alike: BTreeSet<&str> =
        others.filter(|other| *other != plant.name && names.contains(other)).collect();
    let runner_up = explained().find_map(|d| d.runner_up.as_ref());
    Naming {
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
