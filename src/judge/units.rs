//! The units of a run. They are judged independently of each other, so several machines can share a run.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::set_aside::{of_one_layer, of_one_site, set_aside};
use super::verdict::{Finding, Outcome, Status};
use crate::checkpoints::{self, Checkpoint, How};
use crate::reference::Feed;
use crate::{Error, Result};

/// One of several parts of a run: the units whose number leaves the same remainder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// The number of this part, from 1.
    pub number: usize,
    /// The number of parts.
    pub of: usize,
}

/// A unit of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// All prefills of the case with this number: every checkpoint that compares sites.
    Prefills(usize),
    /// The cache laws on the case with this number.
    Laws(usize),
    /// Config and tensors.
    Weights,
    /// Texts and their ids.
    Texts,
    /// The end of the context.
    ContextEnds,
    /// Distributions.
    Sampling,
    /// Generated tokens.
    Greedy,
}

impl Unit {
    /// The number of units that belong to no case.
    const OF_MODEL: usize = 5;

    /// Its number in a run of `cases` cases.
    fn number(self, cases: usize) -> usize {
        match self {
            Self::Prefills(case) => case,
            Self::Laws(case) => cases + case,
            Self::Weights => 2 * cases,
            Self::Texts => 2 * cases + 1,
            Self::ContextEnds => 2 * cases + 2,
            Self::Sampling => 2 * cases + 3,
            Self::Greedy => 2 * cases + 4,
        }
    }
}

impl Shard {
    /// Whether this part judges `unit`, in a run of `cases` cases.
    pub(super) fn takes(self, unit: Unit, cases: usize) -> bool {
        unit.number(cases) % self.of == self.number - 1
    }

    /// Checks that a run of `cases` cases has a unit for every part.
    ///
    /// # Errors
    /// It has fewer.
    pub fn check(self, cases: usize) -> Result<()> {
        let most = 2 * cases + Unit::OF_MODEL;
        if self.of <= most {
            return Ok(());
        }
        let what =
            format!("a run of {cases} case{} has at most {most} parts", if cases == 1 { "" } else { "s" });
        Err(Error::input(what, format!("use --shard K/N with N of {most} or less")))
    }
}

impl FromStr for Shard {
    type Err = Error;

    /// `2/4`.
    fn from_str(text: &str) -> Result<Self> {
        let parts = text.split_once('/').and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
        match parts {
            Some((number, of)) if 1 <= number && number <= of => Ok(Self { number, of }),
            _ => Err(Error::input(
                "a part is K/N, with K from 1 to N",
                "for the second of four parts, give --shard 2/4",
            )),
        }
    }
}

/// What one unit shows for one checkpoint.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct UnitFindings {
    /// The checkpoint.
    #[serde(serialize_with = "by_id", deserialize_with = "found")]
    pub checkpoint: &'static Checkpoint,
    /// Its place among the units of the checkpoint.
    pub place: usize,
    /// Every comparison.
    pub findings: Vec<Finding>,
    /// Notes for the reader.
    pub notes: Vec<String>,
    /// Why it was not run, if it was not.
    pub skipped: Option<String>,
}

fn by_id<S: Serializer>(checkpoint: &&'static Checkpoint, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(checkpoint.id)
}

fn found<'de, D: Deserializer<'de>>(deserializer: D) -> Result<&'static Checkpoint, D::Error> {
    let id = String::deserialize(deserializer)?;
    let known = checkpoints::ALL.into_iter().find(|checkpoint| checkpoint.id == id);
    known.ok_or_else(|| de::Error::custom("no such checkpoint"))
}

impl UnitFindings {
    /// The unit at `place`, which has shown nothing so far.
    pub(super) fn new(checkpoint: &'static Checkpoint, place: usize) -> Self {
        Self { checkpoint, place, findings: vec![], notes: vec![], skipped: None }
    }

    /// The same unit with these findings.
    pub(super) fn with(self, findings: Vec<Finding>) -> Self {
        Self { findings, ..self }
    }
}

/// The outcome of a checkpoint from all its units. If only one feed was judged, `feed` is that.
pub(super) fn outcome(
    checkpoint: &'static Checkpoint,
    mut units: Vec<UnitFindings>,
    feed: Option<Feed>,
) -> Outcome {
    units.sort_by_key(|unit| unit.place);
    let mut outcome = Outcome { checkpoint, findings: vec![], skipped: None, notes: vec![] };
    let mut skipped = None;
    for unit in units {
        outcome.findings.extend(unit.findings);
        skipped = skipped.or(unit.skipped);
        for note in unit.notes {
            // What a path hides is the same in every case.
            if checkpoint.views().is_empty() || !outcome.notes.contains(&note) {
                outcome.notes.push(note);
            }
        }
    }
    match checkpoint.how {
        How::Sites(..) | How::Tokens(..) => {
            let other = feed.filter(|feed| checkpoint.views().iter().all(|view| view.feed != *feed));
            match other.filter(|_| outcome.findings.is_empty()) {
                Some(feed) => outcome.skipped = Some(format!("judges nothing under feed {}", feed.name())),
                None => set_aside(&mut outcome, "it was judged in another case", of_one_site),
            }
            // Wrong embedding rows are a failure, whatever the tokenizer.
            if let Status::Passed | Status::Own | Status::NotJudged = outcome.status() {
                outcome.skipped = skipped;
            }
        }
        How::Laws(_) => set_aside(&mut outcome, "the rest of its layer was judged", of_one_layer),
        How::Weights | How::Sampling | How::Greedy(_) => outcome.skipped = skipped,
    }
    outcome.note_unexplained();
    outcome
}

/// Judges checkpoints in order with `judge`. `done` sees each outcome as it ends, and may mark failures as
/// expected. The generation checkpoint is judged only if all others passed.
///
/// # Errors
/// The first that `judge` or `done` returns.
pub(super) fn in_order(
    checkpoints: &[&'static Checkpoint],
    mut judge: impl FnMut(&'static Checkpoint) -> Result<Outcome>,
    mut done: impl FnMut(&mut Outcome) -> Result<()>,
) -> Result<Vec<Outcome>> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    for &checkpoint in checkpoints {
        let failed = outcomes.iter().filter(|o| matches!(o.status(), Status::Failed | Status::NotJudged));
        let waits: Vec<&str> = failed.map(|o| o.checkpoint.id).collect();
        let mut outcome = match checkpoint.how {
            How::Greedy(_) if !waits.is_empty() => Outcome {
                checkpoint,
                findings: vec![],
                skipped: Some(format!("not run because {} did not pass", waits.join(", "))),
                notes: vec![],
            },
            _ => judge(checkpoint)?,
        };
        done(&mut outcome)?;
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// The outcomes of a whole run, from the units of all its parts. `done` sees each outcome, and may mark failures as
/// expected.
///
/// # Errors
/// The first that `done` returns.
pub fn merged(
    checkpoints: &[&'static Checkpoint],
    units: impl IntoIterator<Item = UnitFindings>,
    feed: Option<Feed>,
    done: impl FnMut(&mut Outcome) -> Result<()>,
) -> Result<Vec<Outcome>> {
    let mut by_checkpoint: BTreeMap<&str, Vec<UnitFindings>> = BTreeMap::new();
    for unit in units {
        by_checkpoint.entry(unit.checkpoint.id).or_default().push(unit);
    }
    let judge = |checkpoint: &'static Checkpoint| {
        Ok(outcome(checkpoint, by_checkpoint.remove(checkpoint.id).unwrap_or_default(), feed))
    };
    in_order(checkpoints, judge, done)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("1/1", Some((1, 1)))]
    #[case("2/4", Some((2, 4)))]
    #[case("0/4", None)]
    #[case("5/4", None)]
    #[case("1/0", None)]
    #[case("2", None)]
    #[case("-1/4", None)]
    fn a_part_is_written_as_its_number_and_the_number_of_parts(
        #[case] text: &str,
        #[case] parts: Option<(usize, usize)>,
    ) {
        assert_eq!(text.parse::<Shard>().ok().map(|shard| (shard.number, shard.of)), parts);
    }

    #[rstest]
    fn exactly_one_part_judges_each_unit(
        #[values(1, 2, 5)] cases: usize,
        #[values(1, 2, 3, 4, 7)] of: usize,
    ) {
        let of_cases = (0..cases).flat_map(|case| [Unit::Prefills(case), Unit::Laws(case)]);
        let of_model = [Unit::Weights, Unit::Texts, Unit::ContextEnds, Unit::Sampling, Unit::Greedy];
        let units: Vec<Unit> = of_cases.chain(of_model).collect();
        let part = |number| Shard { number, of };
        for &unit in &units {
            assert_eq!((1..=of).filter(|&n| part(n).takes(unit, cases)).count(), 1, "{unit:?}");
        }
        for number in 1..=of {
            assert!(units.iter().any(|&unit| part(number).takes(unit, cases)), "part {number} is empty");
        }
        assert!(part(1).check(cases).is_ok());
        assert!(Shard { number: 1, of: units.len() + 1 }.check(cases).is_err());
    }
}
