//! What the judge took a planted mistake for: the seam to its diagnosis.

use std::collections::BTreeSet;

use crate::judge::Outcome;
use crate::plants::Plant;
use crate::suspects::Diagnosis;

/// What the judge took a mistake for.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    /// The place of the planted mistake among the suspects, from 1.
    pub rank: usize,
    /// How far the tensor is from what it would be under that mistake, in budgets.
    pub residual: f64,
    /// The next best suspect and its residual.
    pub runner_up: Option<(String, f64)>,
}

/// The place of the planted mistake among all that the judge names, checkpoint by checkpoint.
pub(super) fn name(plant: &Plant, outcomes: &[Outcome]) -> Option<Named> {
    let all: Vec<_> = outcomes.iter().flat_map(Outcome::named).collect();
    let mut others: Vec<&str> = all.iter().map(|named| named.mistake).collect();
    let mut seen = BTreeSet::new();
    others.retain(|other| seen.insert(*other));
    let rank = others.iter().position(|other| *other == plant.name)? + 1;
    let named = all.iter().find(|named| named.mistake == plant.name)?;
    let explained = outcomes.iter().flat_map(Outcome::failures).filter_map(|f| f.explained.as_ref());
    let of_it = |d: &&Diagnosis| d.named.iter().any(|named| named.mistake == plant.name);
    let next = explained.filter(of_it).find_map(|diagnosis| diagnosis.runner_up.as_ref());
    Some(Named {
        rank,
        residual: named.residual,
        runner_up: next.map(|n| (n.mistake.to_owned(), n.residual)),
    })
}
