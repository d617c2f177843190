//! `merge`: the verdict on a run whose parts were judged separately.

use std::path::PathBuf;

use clap::{ArgAction, Args};
use rbees_check::judge;
use rbees_check::reference::Feed;
use rbees_check::report::json::Report;
use rbees_check::report::merge::{Merged, merge};
use rbees_check::{Error, Result};

use super::description::Description;
use super::ending::Ending;
use super::escape::one_line;
use super::expect::Expectations;
use super::paint::Out;
use super::reports::Reports;
use super::results::Results;
use super::suggest;

#[derive(Args, Debug)]
pub struct Merge {
    /// The JSON report of every part, in any order
    #[arg(value_name = "FILE", required = true)]
    parts: Vec<PathBuf>,
    #[command(flatten)]
    reports: Reports,
    /// Print more: -v the worst site of each checkpoint, -vv every site
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
}

impl Merge {
    pub fn perform(self, out: &mut Out) -> Result<Ending> {
        let inputs: Vec<_> = self.parts.iter().map(|part| ("part", part.as_path())).collect();
        let earlier = self.reports.ready(&inputs)?;
        let read = |path: &PathBuf| Ok((path.display().to_string(), Report::read(path)?));
        let reports = self.parts.iter().map(read).collect::<Result<Vec<_>>>()?;
        let Merged { first, part, units } = merge(reports)?;
        let checkpoints =
            part.checkpoints.iter().map(|id| suggest::checkpoint(id)).collect::<Result<Vec<_>>>()?;
        let feed = first.run.feed.as_deref().map(feed).transpose()?;

        let mut aside = Out::aside();
        let out = if self.reports.on_stdout() { &mut aside } else { out };
        let expected = Expectations::from_list(part.expected, part.partial)?;
        let (reports, verbose) = (&self.reports, self.verbose);
        let mut results = Results { out, reports, earlier, expected, verbose, flags: &part.flags };
        let (model, run) = (&first.model, &first.run);
        let head =
            format!("{} · {} · {}, {}, {}", model.name, model.shape, run.device, run.dtype, run.matmul);
        // The texts come from a file.
        results.out.line(format!("{}\n", one_line(&head)))?;
        let outcomes = judge::merged(&checkpoints, units, feed, |outcome| results.outcome(outcome))?;
        results.failures(&outcomes)?;
        results.report(&outcomes, &part.command, || Ok(Description::of_report(first)))?;
        results.end(&outcomes)
    }
}

fn feed(name: &str) -> Result<Feed> {
    let unknown =
        || Error::input(format!("the parts have the unknown feed `{name}`"), "judge the parts again");
    Feed::named(name).ok_or_else(unknown)
}
