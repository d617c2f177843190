//! The results of `run`, of a model or of a recording: one line per checkpoint, one paragraph per failure, the
//! reports, the summary, and the exit code.

use rbees_check::judge::{Outcome, Status};
use rbees_check::report::html::PageInput;
use rbees_check::report::json::Report;
use rbees_check::{Result, report};

use super::description::Description;
use super::ending::Ending;
use super::escape::one_line;
use super::expect::Expectations;
use super::paint::{self, Out};
use super::reports::Reports;
use super::stderr::say;

/// Where the results of a run go, and what they are compared with.
pub struct Results<'a> {
    pub out: &'a mut Out,
    pub reports: &'a Reports,
    /// The report of an earlier run, to show what changed.
    pub earlier: Option<Report>,
    pub expected: Expectations,
    /// How much detail the line of a checkpoint has.
    pub verbose: u8,
    /// The flags of the rerun command, each preceded by a space.
    pub flags: &'a str,
}

impl Results<'_> {
    /// Marks the expected failures of an outcome, and prints its line.
    pub fn outcome(&mut self, outcome: &mut Outcome) -> Result<()> {
        self.expected.mark(outcome);
        self.out.text(&rendered(outcome, self.verbose))
    }

    /// Prints one paragraph for each outcome that needs one, and what is known about expectations.
    pub fn failures(&mut self, outcomes: &[Outcome]) -> Result<()> {
        self.out.line("")?;
        for (outcome, detail) in outcomes.iter().filter_map(|o| Some((o, report::detail(o, self.flags)?))) {
            self.out.line(paint::status(&detail, outcome.status()))?;
        }
        if let Some(first) = report::first_wrong(outcomes) {
            self.out.line(format!("{first}\n"))?;
        }
        for stale in &self.expected.stale {
            self.out.line(one_line(&format!("stale: {stale}; remove this expectation")) + "\n")?;
        }
        self.expected.notes.iter().for_each(|note| say(&one_line(&format!("note: {note}"))));
        Ok(())
    }

    /// Writes the reports that were asked for, and prints what changed since an earlier one. `ids` are the
    /// checkpoints, as the command names them.
    ///
    /// # Errors
    /// The description cannot be made, or a report cannot be written.
    pub fn report(
        &mut self,
        outcomes: &[Outcome],
        ids: &str,
        description: impl FnOnce() -> Result<Description>,
    ) -> Result<()> {
        if !self.reports.wanted() {
            return Ok(());
        }
        let report = description()?.report(outcomes, &self.expected.stale, self.ending(outcomes));
        let command = &format!("rbees-check run {ids}{}", self.flags);
        self.reports.write(&PageInput { report: &report, outcomes, command, flags: self.flags })?;
        self.out.text(&self.reports.since(self.earlier.as_ref(), &report))
    }

    /// Prints the last line.
    pub fn end(self, outcomes: &[Outcome]) -> Result<Ending> {
        self.out.line(report::summary(outcomes, self.expected.stale.len()))?;
        Ok(self.ending(outcomes))
    }

    /// The worst status of all. If nothing passed, nothing was judged, even if everything else was skipped.
    fn ending(&self, outcomes: &[Outcome]) -> Ending {
        let any = |status| outcomes.iter().any(|outcome| outcome.status() == status);
        if any(Status::Failed) || !self.expected.stale.is_empty() {
            Ending::Failed
        } else if any(Status::NotJudged)
            || !(any(Status::Passed) || any(Status::Own) || any(Status::Expected))
        {
            Ending::NotJudged
        } else {
            Ending::Passed
        }
    }
}

/// The line of one checkpoint, with as much detail as `verbose` asks for.
pub fn rendered(outcome: &Outcome, verbose: u8) -> String {
    let mut text = format!("  {}\n", paint::status(&report::line(outcome), outcome.status()));
    if verbose > 0 {
        text += &report::verbose(outcome);
    }
    if verbose > 1 {
        text.extend(outcome.findings.iter().map(|finding| format!("      {}\n", report::finding(finding))));
    }
    text
}
