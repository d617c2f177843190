//! What a planted mistake turned red, and whether that is what it declares.

use std::collections::BTreeSet;

use candle_core::DType;

use crate::judge::{Outcome, Status, Verdict};
use crate::model::Attention;
use crate::plants::Plant;
use crate::suspects::Diagnosis;

/// A plant and what became of every checkpoint.
pub struct Caught {
    /// The plant.
    pub plant: &'static Plant,
    /// Once for each path on which it was made.
    pub paths: Vec<OnPath>,
}

/// A plant on one path.
pub struct OnPath {
    /// The path.
    pub path: Attention,
    /// The checkpoints that failed.
    pub red: BTreeSet<&'static str>,
    /// The checkpoints that could not judge.
    pub void: BTreeSet<&'static str>,
    /// The first wrong site.
    pub first: Option<String>,
    /// The worst error as a multiple of its budget, at the site where that is largest; none where only
    /// exact facts are wrong.
    pub margin: Option<f64>,
    /// What the judge took it for.
    pub named: Option<Named>,
}

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

/// The place of `mistake` among all that the judge names, checkpoint by checkpoint.
fn name(mistake: &str, outcomes: &[Outcome]) -> Option<Named> {
    let all: Vec<_> = outcomes.iter().flat_map(Outcome::named).collect();
    let mut others: Vec<&str> = all.iter().map(|named| named.mistake).collect();
    let mut seen = BTreeSet::new();
    others.retain(|other| seen.insert(*other));
    let rank = others.iter().position(|other| *other == mistake)? + 1;
    let named = all.iter().find(|named| named.mistake == mistake)?;
    let explained =
        outcomes.iter().flat_map(Outcome::failures).filter_map(|finding| finding.explained.as_ref());
    let of_it = |d: &&Diagnosis| d.named.iter().any(|named| named.mistake == mistake);
    let next = explained.filter(of_it).find_map(|diagnosis| diagnosis.runner_up.as_ref());
    Some(Named {
        rank,
        residual: named.residual,
        runner_up: next.map(|n| (n.mistake.to_owned(), n.residual)),
    })
}

impl OnPath {
    /// From the outcomes of the checkpoints that were run.
    pub fn new(mistake: &str, path: Attention, outcomes: Vec<Outcome>) -> Self {
        let of = |status| {
            let ids = outcomes.iter().filter(move |outcome| outcome.status() == status);
            ids.map(|outcome| outcome.checkpoint.id).collect()
        };
        let failures = || outcomes.iter().flat_map(Outcome::failures);
        let ratio = |verdict: &Verdict| match verdict {
            Verdict::Differs(difference) => Some(difference.ratio),
            _ => None,
        };
        Self {
            path,
            red: of(Status::Failed),
            void: of(Status::NotJudged),
            first: failures().filter_map(|finding| finding.site).min().map(|site| site.to_string()),
            margin: failures().filter_map(|finding| ratio(&finding.verdict)).max_by(f64::total_cmp),
            named: name(mistake, &outcomes),
        }
    }

    /// What is not as `plant` declares it, in words; `None` if all is.
    ///
    /// In f32 the red checkpoints are exactly the declared ones, and the first wrong site is the one
    /// that the plant alters. In half precision much of it drowns in noise: what is red must be
    /// declared, and something must be red.
    fn fault(&self, plant: &Plant, dtype: DType) -> Option<String> {
        let declared: BTreeSet<&str> = plant.red.iter().copied().collect();
        let first = plant.first_on(self.path).filter(|_| !declared.is_empty());
        let may = plant.may.0;
        let red: BTreeSet<&str> = self.red.iter().copied().filter(|id| !may.contains(id)).collect();
        let path = self.path;
        if dtype != DType::F32 {
            let caught = red.is_subset(&declared) && red.is_empty() == declared.is_empty();
            return (!caught).then(|| format!("{path:?}: {red:?} are red, declared {declared:?}"));
        }
        if !self.void.is_empty() {
            return Some(format!("{path:?}: {:?} could not judge", self.void));
        }
        if red != declared {
            return Some(format!("{path:?}: {red:?} are red, declared {declared:?}"));
        }
        (self.first != first).then(|| format!("{path:?}: first wrong {:?}, declared {first:?}", self.first))
    }
}

impl Caught {
    /// What is not as declared, path by path.
    pub fn faults(&self, dtype: DType) -> Vec<String> {
        self.paths.iter().filter_map(|on| on.fault(self.plant, dtype)).collect()
    }

    /// The smallest margin over the paths.
    pub fn margin(&self) -> Option<f64> {
        self.paths.iter().filter_map(|on| on.margin).min_by(f64::total_cmp)
    }

    /// Was it named on every path, as the likeliest of all suspects?
    pub fn named(&self) -> bool {
        !self.paths.is_empty() && self.paths.iter().all(|on| on.named.as_ref().is_some_and(|n| n.rank == 1))
    }
}
