//! What a planted mistake turned red, and whether that is what it declares.

use std::collections::BTreeSet;

use candle_core::DType;

use super::named::{Named, name};
use crate::judge::{Outcome, Status, Verdict};
use crate::model::{Attention, Matmul};
use crate::plants::Plant;

/// How many budgets a mistake must be off at its best site in f32: nearer ones would be luck.
const MARGIN: f64 = 10.0;

/// A plant and what became of every checkpoint.
pub struct Caught {
    /// The plant.
    pub plant: &'static Plant,
    /// What the model computes in.
    pub dtype: DType,
    /// What it multiplies with.
    pub matmul: Matmul,
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
    /// The largest share of a budget among what passed at the plant's own stages.
    pub share: f64,
    /// What the judge took it for.
    pub named: Named,
}

impl OnPath {
    /// From the outcomes of the checkpoints that were run.
    pub fn new(plant: &Plant, path: Attention, outcomes: Vec<Outcome>) -> Self {
        let of = |status| {
            let ids = outcomes.iter().filter(move |outcome| outcome.status() == status);
            ids.map(|outcome| outcome.checkpoint.id).collect()
        };
        let failures = || outcomes.iter().flat_map(Outcome::failures);
        let ratio = |verdict: &Verdict| match verdict {
            Verdict::Differs(difference) => Some(difference.ratio),
            _ => None,
        };
        let share = |verdict: &Verdict| if let Verdict::Pass(share) = verdict { *share } else { 0.0 };
        let own = outcomes.iter().filter(|outcome| plant.red.contains(&outcome.checkpoint.id));
        Self {
            path,
            red: of(Status::Failed),
            void: of(Status::NotJudged),
            first: failures().filter_map(|finding| finding.site).min().map(|site| site.to_string()),
            margin: failures().filter_map(|finding| ratio(&finding.verdict)).max_by(f64::total_cmp),
            share: own.filter_map(|outcome| outcome.worst()).map(|f| share(&f.verdict)).fold(0.0, f64::max),
            named: name(plant, &outcomes),
        }
    }

    /// What is not as `plant` declares it, in words; `None` if all is.
    ///
    /// In f32 the red checkpoints are exactly the declared ones, and the first wrong site is the one
    /// that the plant alters. In half precision much of it drowns in noise: what is red must be
    /// declared, and something must be red.
    fn fault(&self, plant: &Plant, dtype: DType, fine: bool) -> Option<String> {
        let declared: BTreeSet<&str> = plant.red.iter().copied().collect();
        let first = plant.first_on(self.path).filter(|_| !declared.is_empty());
        let may = plant.may.0;
        let red: BTreeSet<&str> = self.red.iter().copied().filter(|id| !may.contains(id)).collect();
        let path = self.path;
        if !fine {
            let nothing = declared.is_empty() || plant.unseen_in(dtype).is_some();
            let caught = red.is_subset(&declared) && (nothing || !red.is_empty());
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
    /// Are no more than the last bits of float32 uncertain?
    fn is_fine(&self) -> bool {
        self.dtype == DType::F32 && self.matmul == Matmul::Dense
    }

    /// What is not as declared, path by path. In f32 a mistake must also be far past its budget.
    pub fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> =
            self.paths.iter().filter_map(|on| on.fault(self.plant, self.dtype, self.is_fine())).collect();
        if let Some(margin) = self.margin().filter(|margin| self.is_fine() && *margin < MARGIN) {
            faults.push(format!("only {margin:.1} budgets off, at least {MARGIN} demanded"));
        }
        faults
    }

    /// The smallest margin over the paths.
    pub fn margin(&self) -> Option<f64> {
        self.paths.iter().filter_map(|on| on.margin).min_by(f64::total_cmp)
    }

    /// Why nothing is red, where that is declared, and how much of a budget it takes.
    pub fn unseen(&self) -> Option<(&'static str, f64)> {
        let green = self.paths.iter().all(|on| on.red.is_empty());
        let share = self.paths.iter().map(|on| on.share).fold(0.0, f64::max);
        self.plant.unseen_in(self.dtype).filter(|_| green).map(|why| (why, share))
    }

    /// Is it one of the rows that are no mistakes?
    pub fn honest(&self) -> bool {
        self.plant.red.is_empty()
    }

    /// Was it named on every path, as the likeliest of all suspects?
    pub fn named(&self) -> bool {
        !self.paths.is_empty() && self.paths.iter().all(|on| on.named.rank == Some(1))
    }

    /// What the judge named in its place, path by path. In f32 all of them must be named; in half
    /// precision a tensor may say too little to name anything, but nothing else may be named.
    pub fn misnamed(&self) -> Vec<String> {
        if self.honest() || self.unseen().is_some() {
            return vec![];
        }
        let silent = |on: &OnPath| !self.is_fine() && on.named.names.is_empty();
        let wrong = self.paths.iter().filter(|on| on.named.rank != Some(1) && !silent(on));
        let said = |on: &OnPath| match &on.named.names[..] {
            [] => format!("{:?}: not named", on.path),
            names => format!("{:?}: named {}", on.path, names.join(", ")),
        };
        wrong.map(said).collect()
    }
}
