//! Expected failures: marks the known failures of a run, and finds expectations that are stale.

use rbees_check::Result;
use rbees_check::checkpoints::Checkpoint;
use rbees_check::judge::{Finding, Outcome, Status};
use rbees_check::report::json::StaleExpectation;

use super::suggest;

/// A known failure.
#[derive(Clone, Debug)]
pub struct Expectation {
    pub checkpoint: &'static Checkpoint,
    /// The site, or the other subject of the finding. If not given, any.
    pub site: Option<String>,
    /// The case. If not given, any.
    pub case: Option<String>,
    pub reason: String,
    /// `rbees-check.toml:7`.
    pub origin: String,
}

impl Expectation {
    fn is_about(&self, finding: &Finding) -> bool {
        let same = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is);
        same(&self.site, &finding.about) && same(&self.case, &finding.case)
    }

    /// As a report lists it.
    fn listed(&self) -> StaleExpectation {
        StaleExpectation {
            origin: self.origin.clone(),
            checkpoint: self.checkpoint.id.to_owned(),
            site: self.site.clone(),
            case: self.case.clone(),
            reason: self.reason.clone(),
        }
    }
}

/// All expectations, and what the run showed about them.
#[derive(Debug, Default)]
pub struct Expectations {
    all: Vec<Expectation>,
    /// Flags selected only a part of what the settings file judges, so a pass here does not mean that all of
    /// it passes.
    partial: bool,
    /// Only mark failures.
    only_marks: bool,
    /// Expectations that passed in a complete run.
    pub stale: Vec<StaleExpectation>,
    /// Remarks about the other expectations, one line each.
    pub notes: Vec<String>,
}

impl Expectations {
    /// Expectations for a complete run, or for a `partial` one.
    pub fn new(all: Vec<Expectation>, partial: bool) -> Self {
        Self { all, partial, ..Self::default() }
    }

    /// The expectations that the report of a part lists, and whether the run is a partial one.
    ///
    /// # Errors
    /// A checkpoint is unknown.
    pub fn from_list(listed: Vec<StaleExpectation>, partial: bool) -> Result<Self> {
        let expectation = |listed: StaleExpectation| {
            let StaleExpectation { origin, checkpoint, site, case, reason } = listed;
            Ok(Expectation { checkpoint: suggest::checkpoint(&checkpoint)?, site, case, reason, origin })
        };
        Ok(Self::new(listed.into_iter().map(expectation).collect::<Result<_>>()?, partial))
    }

    /// All expectations, as a report lists them, and whether the run is a partial one.
    pub fn listed(&self) -> (Vec<StaleExpectation>, bool) {
        (self.all.iter().map(Expectation::listed).collect(), self.partial)
    }

    /// Only a part of the run is judged here: failures are marked, but nothing is stale or unmatched.
    pub fn is_part(&mut self) {
        self.only_marks = true;
    }

    /// Marks the failures of `outcome` that are expected.
    pub fn mark(&mut self, outcome: &mut Outcome) {
        if outcome.skipped.is_some() {
            return;
        }
        for expectation in self.all.iter().filter(|e| e.checkpoint == outcome.checkpoint) {
            let about: Vec<&mut Finding> =
                outcome.findings.iter_mut().filter(|finding| expectation.is_about(finding)).collect();
            if self.only_marks {
                // The other parts may show what this one does not.
            } else if about.is_empty() {
                self.notes.push(format!("{}: matches nothing that was judged", expectation.origin));
            } else if about.iter().all(|finding| matches!(finding.status(), Status::Passed | Status::Own)) {
                let stale = expectation.listed();
                if self.partial {
                    self.notes.push(format!("{stale} in the part that was judged"))
                } else {
                    self.stale.push(stale)
                }
            }
            let failed = about.into_iter().filter(|finding| finding.status() == Status::Failed);
            failed.for_each(|finding| finding.expected = Some(expectation.reason.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use rbees_check::checkpoints;
    use rbees_check::judge::Verdict;
    use rstest::rstest;

    use super::*;

    const FAILED: Verdict = Verdict::NeverReached;
    const PASSED: Verdict = Verdict::Pass(0.1);

    fn rope(findings: [(&str, &str, Verdict); 2]) -> Outcome {
        let finding = |(about, case, verdict): (&str, &str, Verdict)| Finding {
            case: case.into(),
            ..Finding::new(about, verdict)
        };
        Outcome {
            checkpoint: checkpoints::find("1B").unwrap(),
            findings: findings.map(finding).into(),
            skipped: None,
            notes: vec![],
        }
    }

    fn expect(site: Option<&str>, case: Option<&str>) -> Expectation {
        Expectation {
            checkpoint: checkpoints::find("1B").unwrap(),
            site: site.map(str::to_owned),
            case: case.map(str::to_owned),
            reason: "known".into(),
            origin: "rbees-check.toml:1".into(),
        }
    }

    #[rstest]
    #[case::the_checkpoint(None, None, Status::Expected)]
    #[case::one_site_of_two(Some("q"), None, Status::Failed)]
    #[case::one_case_of_two(None, Some("short"), Status::Failed)]
    #[case::another_site(Some("v"), None, Status::Failed)]
    fn only_failures_that_match_an_expectation_are_expected(
        #[case] site: Option<&str>,
        #[case] case: Option<&str>,
        #[case] status: Status,
    ) {
        let mut outcome = rope([("q", "short", FAILED), ("k", "long", FAILED)]);
        let mut expectations = Expectations::new(vec![expect(site, case)], false);
        expectations.mark(&mut outcome);
        assert_eq!((outcome.status(), expectations.stale.len()), (status, 0));
    }

    #[test]
    fn a_pass_is_stale_in_a_complete_run_and_a_note_in_a_partial_one() {
        for partial in [false, true] {
            let mut outcome = rope([("q", "short", PASSED), ("k", "short", FAILED)]);
            let mut expectations = Expectations::new(vec![expect(Some("q"), None)], partial);
            expectations.mark(&mut outcome);
            let (stale, notes) = (expectations.stale.len(), expectations.notes.len());
            assert_eq!(
                (outcome.status(), stale, notes),
                (Status::Failed, !partial as usize, partial as usize)
            );
        }
    }

    #[test]
    fn a_finding_that_could_not_be_judged_is_neither_expected_nor_stale() {
        let mut outcome = rope([("q", "short", Verdict::Incomparable), ("k", "short", PASSED)]);
        let mut expectations = Expectations::new(vec![expect(None, None)], false);
        expectations.mark(&mut outcome);
        assert_eq!((outcome.status(), expectations.stale.len()), (Status::NotJudged, 0));
    }

    #[test]
    fn an_expectation_is_not_stale_if_any_matching_finding_fails() {
        let mut outcome = rope([("q", "short", FAILED), ("q", "long", PASSED)]);
        let mut expectations = Expectations::new(vec![expect(Some("q"), None)], false);
        expectations.mark(&mut outcome);
        assert_eq!((outcome.status(), expectations.stale.len()), (Status::Expected, 0));
    }
}
