//! The result of a check: verdicts, their text, and a panic.

use std::fmt::Write;

use super::kinds::short;
use crate::judge::{Outcome, Status, Traits};
use crate::probe::Kind;
use crate::reference::Reference;
use crate::report;

/// The result of judging a port's forward pass.
#[derive(Debug)]
#[must_use = "nothing fails before `assert` is called"]
pub struct Checked {
    head: String,
    outcomes: Vec<Outcome>,
    /// Kinds that the reference stores but the port never handed over.
    absent: Vec<Kind>,
    hints: Vec<String>,
    /// No reference inputs were given, so every site after a wrong one is wrong because of it.
    on_its_own: bool,
}

impl Checked {
    pub(super) fn new(
        case: &Reference,
        traits: &Traits,
        outcomes: Vec<Outcome>,
        absent: Vec<Kind>,
        hints: Vec<String>,
        on_its_own: bool,
    ) -> Self {
        let (of, how) = (&case.manifest, if on_its_own { ", on its own values" } else { "" });
        let head = format!(
            "your port compared with {} ({}) · {}, {}{how}",
            of.case,
            of.model,
            traits.dtype.as_str(),
            traits.arithmetic.name()
        );
        Self { head, outcomes, absent, hints, on_its_own }
    }

    /// Every checkpoint that one forward pass can check, in order, with its findings or the reason why it was
    /// skipped.
    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// True if everything that was handed over matches, and at least one site was compared.
    pub fn passed(&self) -> bool {
        let fine = |o: &Outcome| matches!(o.status(), Status::Passed | Status::Skipped);
        self.outcomes.iter().all(fine) && self.outcomes.iter().any(|o| o.status() == Status::Passed)
    }

    /// One line per checkpoint and one paragraph per failure, as the program prints them.
    pub fn report(&self) -> String {
        let mut text = format!("{}\n\n", self.head);
        for outcome in &self.outcomes {
            let _ = writeln!(text, "  {}", report::line(outcome).trim_end());
        }
        text + "\n" + &self.troubles()
    }

    /// One paragraph per failure, and the last line.
    fn troubles(&self) -> String {
        let mut text = String::new();
        let first = report::first_wrong(&self.outcomes);
        let shown = |o: &&Outcome| !self.on_its_own || self.begins(o);
        for outcome in self.outcomes.iter().filter(shown) {
            if let Some(trouble) = report::trouble(outcome) {
                let id = outcome.checkpoint.id;
                let _ = writeln!(text, "{trouble}   docs       rbees-check explain {id}\n");
            }
        }
        if let Some(first) = first {
            let behind = if self.on_its_own {
                "\nlater sites are computed from it, so their failures may be its consequences"
            } else {
                ""
            };
            let _ = writeln!(text, "{first}{behind}\n");
        }
        for hint in &self.hints {
            let _ = writeln!(text, "hint: {hint}");
        }
        if !self.hints.is_empty() {
            text.push('\n');
        }
        if self.outcomes.iter().all(|outcome| outcome.status() == Status::Skipped) {
            text.push_str("nothing was compared: the port handed over no site that the reference stores\n\n");
        }
        text + &report::summary(&self.outcomes, 0)
    }

    /// If the port runs on its own values: does the first failure belong to this checkpoint? Errors of the
    /// port are included.
    fn begins(&self, outcome: &Outcome) -> bool {
        let wrong = || outcome.findings.iter().filter(|f| f.status() != Status::Passed);
        let first = self.outcomes.iter().flat_map(|o| o.failures()).filter_map(|f| f.site).min();
        wrong().any(|finding| finding.site.is_none() || finding.site == first) || first.is_none()
    }

    /// # Panics
    /// With the report, if something is wrong, could not be judged, or nothing was compared.
    #[track_caller]
    pub fn assert(&self) {
        assert!(self.passed(), "{}", self.report());
    }

    /// Like [`Checked::assert`], and also requires that every kind of site that the reference stores was
    /// handed over. A fused attention, which never computes scores and probabilities, is complete if it hands
    /// over its context.
    ///
    /// # Panics
    /// If something is wrong or missing.
    #[track_caller]
    pub fn assert_complete(&self) {
        self.assert();
        let fused =
            |kind: &Kind| matches!(kind, Kind::Scores | Kind::Probs) && !self.absent.contains(&Kind::Context);
        let absent: Vec<&str> =
            self.absent.iter().filter(|kind| !fused(kind)).map(|&kind| short(kind)).collect();
        assert!(absent.is_empty(), "{}\n\nnever handed over: {}", self.report(), absent.join(", "));
    }
}
