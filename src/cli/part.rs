//! `--shard`: judges one part of a run and writes its report, which `merge` reads.

use clap::Args;
use rbees_check::checkpoints::Checkpoint;
use rbees_check::judge::{self, Outcome, Shard, Status, Subject};
use rbees_check::report::json::Part;
use rbees_check::{Error, Result};

use super::description::Description;
use super::ending::Ending;
use super::progress::Progress;
use super::results::Results;

#[derive(Args, Debug)]
pub struct Sharding {
    /// Judge only the K-th of N parts, to share a run among machines; needs --report json=FILE, and `merge` puts the
    /// parts together
    #[arg(long, value_name = "K/N", conflicts_with_all = ["dump", "bundle", "baseline"])]
    shard: Option<Shard>,
}

/// What the report of a part says about the whole run.
pub struct WholeRun<'a> {
    pub checkpoints: &'a [&'static Checkpoint],
    /// The checkpoints as the command names them.
    pub command: &'a str,
}

impl Sharding {
    /// The part to judge; `None` for the whole run.
    ///
    /// # Errors
    /// There is a part but no report to write it to.
    pub fn part(&self, results: &Results<'_>) -> Result<Option<Shard>> {
        match self.shard {
            Some(_) if !results.reports.only_json() => Err(Error::input(
                "--shard: a part is written as one JSON report, and nothing else",
                "add --report json=FILE; `rbees-check merge` then writes every other form",
            )),
            shard => Ok(shard),
        }
    }
}

/// Judges one part, prints its outcomes and writes its report.
pub fn judge(
    subject: &mut Subject<'_>,
    shard: Shard,
    whole: &WholeRun<'_>,
    mut results: Results<'_>,
    description: impl FnOnce(&Subject<'_>) -> Result<Description>,
    progress: Progress,
) -> Result<Ending> {
    let checkpoints = whole.checkpoints;
    progress.now(&format!("part {} of {}", shard.number, shard.of));
    let units = judge::run_part(subject, checkpoints, shard)?;
    let (expected, partial) = results.expected.listed();
    let part = Part {
        number: shard.number,
        of: shard.of,
        checkpoints: checkpoints.iter().map(|checkpoint| checkpoint.id.to_owned()).collect(),
        command: whole.command.to_owned(),
        flags: results.flags.to_owned(),
        expected,
        partial,
        units: units.clone(),
    };
    let judged: Vec<&'static Checkpoint> =
        checkpoints.iter().copied().filter(|c| units.iter().any(|unit| unit.checkpoint == *c)).collect();
    drop(progress);
    results.expected.is_part();
    let outcomes = judge::merged(&judged, units, subject.feed, |outcome| results.outcome(outcome))?;
    results.failures(&outcomes)?;
    let ending = ending(&outcomes);
    results.reports.write_part(&description(subject)?.part(&outcomes, part, ending))?;
    let Shard { number, of } = shard;
    results.out.line(format!(
        "part {number} of {of}: {} of {} checkpoints; `rbees-check merge` gives the verdict on all parts",
        judged.len(),
        checkpoints.len()
    ))?;
    Ok(ending)
}

/// What cannot be concluded from this part may be concluded from all parts.
fn ending(outcomes: &[Outcome]) -> Ending {
    let failed = outcomes.iter().any(|outcome| outcome.status() == Status::Failed);
    if failed { Ending::Failed } else { Ending::Passed }
}
