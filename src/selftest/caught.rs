//! Compares the checkpoints that failed for a planted mistake with those that the plant declares.

use std::collections::BTreeSet;

use candle_core::DType;

use super::named::{Naming, name};
use crate::judge::{Outcome, Status, Verdict};
use crate::model::{Attention, Matmul};
use crate::models;
use crate::plants::Plant;
use crate::weights::Config;

/// The least error of a mistake at its best site in f32, in budgets: a smaller one could be caught by luck.
const MARGIN: f64 = 10.0;

/// The checkpoint that compares generated text.
const TEXT: &str = "09";

/// A plant and the results of its checkpoints.
pub struct Caught {
    /// The plant.
    pub plant: &'static Plant,
    /// The dtype in which the model computes.
    pub dtype: DType,
    /// How it multiplies matrices.
    pub matmul: Matmul,
    /// What it must change in this model.
    pub declared: Declared,
    /// One result per path.
    pub paths: Vec<OnPath>,
}

/// What a plant must change in one model.
pub struct Declared {
    /// The checkpoints that must fail, and no others.
    pub fails: BTreeSet<&'static str>,
    /// The first wrong site on plain and on fused attention.
    pub first: [Option<String>; 2],
    /// Whether checkpoint 09 may pass although the plant declares it. The text of a model with random weights often
    /// repeats one token, and then a wrong value changes no token.
    pub text_may_stay: bool,
}

impl Declared {
    /// What `plant` declares for the model `name` with this config.
    pub fn of(plant: &Plant, name: &str, config: &Config) -> Self {
        let fails = plant.fails_in(config);
        Self {
            first: [Attention::Plain, Attention::Fused].map(|path| plant.first_on(path, config)),
            // What only changes the text must change it.
            text_may_stay: fails.len() > 1 && models::has_random_weights(name),
            fails,
        }
    }

    fn first_on(&self, path: Attention) -> Option<&String> {
        let [plain, fused] = &self.first;
        if path == Attention::Fused { fused.as_ref() } else { plain.as_ref() }
    }
}

/// The results of a plant on one path.
pub struct OnPath {
    /// The path.
    pub path: Attention,
    /// The checkpoints that failed.
    pub failed: BTreeSet<&'static str>,
    /// The checkpoints that were inconclusive.
    pub void: BTreeSet<&'static str>,
    /// The first wrong site.
    pub first: Option<String>,
    /// The largest error of any site, in budgets; `None` if only exact facts are wrong.
    pub margin: Option<f64>,
    /// The largest share of a budget among the sites that passed in the plant's declared checkpoints.
    pub share: f64,
    /// The mistakes that the judge named.
    pub named: Naming,
}

impl OnPath {
    /// Collects the results from the outcomes of the checkpoints.
    pub fn new(plant: &Plant, declared: &Declared, path: Attention, outcomes: Vec<Outcome>) -> Self {
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
        let own = outcomes.iter().filter(|outcome| declared.fails.contains(outcome.checkpoint.id));
        Self {
            path,
            failed: of(Status::Failed),
            void: of(Status::NotJudged),
            first: failures().filter_map(|finding| finding.site).min().map(|site| site.to_string()),
            margin: failures().filter_map(|finding| ratio(&finding.verdict)).max_by(f64::total_cmp),
            share: own.filter_map(|outcome| outcome.worst()).map(|f| share(&f.verdict)).fold(0.0, f64::max),
            named: name(plant, &outcomes),
        }
    }

    /// Describes the first result that differs from what `plant` declares; `None` if there is none.
    ///
    /// In f32 exactly the declared checkpoints must fail, and the first wrong site must be the one that the
    /// plant changes; a text may stay as it is where [`Declared::text_may_stay`]. In half precision noise hides much of a mistake: every failing checkpoint must be
    /// declared, and at least one must fail.
    fn fault(&self, plant: &Plant, expected: &Declared, dtype: DType, fine: bool) -> Option<String> {
        let mut declared = expected.fails.clone();
        let first = expected.first_on(self.path).filter(|_| !declared.is_empty());
        let may = plant.may.0;
        let failed: BTreeSet<&str> = self.failed.iter().copied().filter(|id| !may.contains(id)).collect();
        if expected.text_may_stay && !failed.contains(TEXT) {
            declared.remove(TEXT);
        }
        let path = self.path;
        if !fine {
            let nothing = declared.is_empty() || plant.unseen_in(dtype).is_some();
            let caught = failed.is_subset(&declared) && (nothing || !failed.is_empty());
            return (!caught).then(|| format!("{path:?}: {failed:?} failed, declared {declared:?}"));
        }
        if !self.void.is_empty() {
            return Some(format!("{path:?}: {:?} were inconclusive", self.void));
        }
        if failed != declared {
            return Some(format!("{path:?}: {failed:?} failed, declared {declared:?}"));
        }
        (self.first.as_ref() != first)
            .then(|| format!("{path:?}: first wrong site {:?}, declared {first:?}", self.first))
    }
}

impl Caught {
    /// Whether rounding affects only the last bits of float32.
    fn is_fine(&self) -> bool {
        self.dtype == DType::F32 && self.matmul == Matmul::Dense
    }

    /// The differences from what the plant declares, one per path. In f32 a mistake must also exceed its
    /// budget by a margin.
    pub fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> = self
            .paths
            .iter()
            .filter_map(|on| on.fault(self.plant, &self.declared, self.dtype, self.is_fine()))
            .collect();
        if let Some(margin) = self.margin().filter(|margin| self.is_fine() && *margin < MARGIN) {
            faults.push(format!("the error is only {margin:.1} budgets; it must be at least {MARGIN}"));
        }
        faults
    }

    /// The smallest margin over the paths.
    pub fn margin(&self) -> Option<f64> {
        self.paths.iter().filter_map(|on| on.margin).min_by(f64::total_cmp)
    }

    /// If the plant declares that nothing fails in this dtype, and nothing does: the reason, and the largest
    /// share of a budget.
    pub fn unseen(&self) -> Option<(&'static str, f64)> {
        let passed = self.paths.iter().all(|on| on.failed.is_empty());
        let share = self.paths.iter().map(|on| on.share).fold(0.0, f64::max);
        self.plant.unseen_in(self.dtype).filter(|_| passed).map(|why| (why, share))
    }

    /// Whether it is one of the rows that are not mistakes.
    pub fn harmless(&self) -> bool {
        self.plant.fails.is_empty()
    }

    /// Whether the planted mistake was named first on every path.
    pub fn named(&self) -> bool {
        !self.paths.is_empty() && self.paths.iter().all(|on| on.named.rank == Some(1))
    }

    /// What the judge named instead, one entry per path. In f32 every mistake must be named. In half
    /// precision a tensor may contain too little information to name one, but no other mistake may be named.
    pub fn misnamed(&self) -> Vec<String> {
        if self.harmless() || self.unseen().is_some() {
            return vec![];
        }
        let unnamed = |on: &OnPath| !self.is_fine() && on.named.names.is_empty();
        let wrong = self.paths.iter().filter(|on| on.named.rank != Some(1) && !unnamed(on));
        let description = |on: &OnPath| match &on.named.names[..] {
            [] => format!("{:?}: not named", on.path),
            names => format!("{:?}: named {}", on.path, names.join(", ")),
        };
        wrong.map(description).collect()
    }
}
