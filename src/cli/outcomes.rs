//! Prints the outcomes of `run`: one line per checkpoint, one paragraph per failure; and derives the exit
//! code.

use rbees_check::judge::{Outcome, Status};
use rbees_check::{Result, report};

use super::ending::Ending;
use super::expect::Expectations;
use super::paint::{self, Out};
use super::stderr::say;

/// Prints one paragraph for each outcome that needs one. `flags` are those of the rerun command.
pub fn troubles(outcomes: &[Outcome], expected: &Expectations, flags: &str, out: &mut Out) -> Result<()> {
    for (outcome, detail) in outcomes.iter().filter_map(|o| Some((o, report::detail(o, flags)?))) {
        out.line(paint::status(&detail, outcome.status()))?;
    }
    if let Some(first) = report::first_wrong(outcomes) {
        out.line(format!("{first}\n"))?;
    }
    for stale in &expected.stale {
        out.line(format!("stale: {stale}; remove this expectation\n"))?;
    }
    expected.notes.iter().for_each(|note| say(&format!("note: {note}")));
    Ok(())
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

/// The worst status of all. If nothing passed, nothing was judged, even if everything else was skipped.
pub fn ending(outcomes: &[Outcome], stale: usize) -> Ending {
    let any = |status| outcomes.iter().any(|outcome| outcome.status() == status);
    if any(Status::Failed) || stale > 0 {
        Ending::Failed
    } else if any(Status::NotJudged) || !(any(Status::Passed) || any(Status::Expected)) {
        Ending::NotJudged
    } else {
        Ending::Passed
    }
}
