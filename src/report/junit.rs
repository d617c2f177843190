//! A report as JUnit XML, which every CI server can show: one suite per checkpoint, one test per comparison.

use std::collections::BTreeMap;

use quick_junit::{NonSuccessKind, Report as Document, TestCase, TestCaseStatus, TestSuite};

use super::json::{Checkpoint, Finding, Report, Standing};
use crate::{Error, Result};

/// The whole document.
///
/// Comparisons of the same thing in the same case under the same drive become one test, with the worst of
/// their results. A comparison that could not be judged is an error; one that was not run or was expected to
/// fail is skipped; an expected failure that passes is a failure.
///
/// # Errors
/// None known: text that XML cannot hold is left out.
pub fn document(report: &Report) -> Result<String> {
    let mut document = Document::new(format!("{} {}", report.tool.name, report.model.name));
    for checkpoint in &report.checkpoints {
        document.add_test_suite(suite(report, checkpoint));
    }
    document.to_string().map_err(|error| Error::internal(format!("JUnit: {error}")))
}

fn suite(report: &Report, checkpoint: &Checkpoint) -> TestSuite {
    let mut suite = TestSuite::new(format!("{} {}", checkpoint.id, checkpoint.name));
    let (model, run) = (&report.model, &report.run);
    for property in [
        ("model", model.name.as_str()),
        ("weights_sha256", model.weights_sha256.as_deref().unwrap_or("none")),
        ("device", run.device.as_str()),
        ("dtype", run.dtype.as_str()),
        ("matmul", run.matmul.as_str()),
    ] {
        suite.add_property(property);
    }
    let class = format!("checkpoint_{}_{}", checkpoint.id, checkpoint.name).to_lowercase();
    suite
        .add_test_cases(worst_of_each(&checkpoint.findings).into_iter().map(|finding| test(&class, finding)));
    if let Some(why) = &checkpoint.skipped {
        suite.add_test_case(alone(&class, &checkpoint.name, TestCaseStatus::skipped(), why));
    } else if checkpoint.findings.is_empty() {
        let error = TestCaseStatus::non_success(NonSuccessKind::Error);
        suite.add_test_case(alone(&class, &checkpoint.name, error, "nothing was judged"));
    }
    let stale = report.stale_expectations.iter().filter(|stale| stale.checkpoint == checkpoint.id);
    suite.add_test_cases(stale.map(|stale| {
        let failure = TestCaseStatus::non_success(NonSuccessKind::Failure);
        alone(&class, &stale.origin, failure, &stale.to_string())
    }));
    suite
}

/// The worst finding for each subject, case and drive, in the order in which they were judged.
fn worst_of_each(findings: &[Finding]) -> Vec<&Finding> {
    let mut places = BTreeMap::new();
    let mut worst: Vec<&Finding> = Vec::new();
    for finding in findings {
        let place = *places.entry((&finding.about, &finding.case, &finding.drive)).or_insert(worst.len());
        match worst.get_mut(place) {
            Some(so_far) if finding.status > so_far.status => *so_far = finding,
            Some(_) => {}
            None => worst.push(finding),
        }
    }
    worst
}

fn test(class: &str, finding: &Finding) -> TestCase {
    let name = match &finding.drive {
        Some(drive) => format!("{} ({drive})", finding.about),
        None => finding.about.clone(),
    };
    let mut status = match finding.status {
        Standing::Passed | Standing::Own => TestCaseStatus::success(),
        Standing::Skipped | Standing::Expected => TestCaseStatus::skipped(),
        Standing::NotJudged => TestCaseStatus::non_success(NonSuccessKind::Error),
        Standing::Failed => TestCaseStatus::non_success(NonSuccessKind::Failure),
    };
    match &finding.expected {
        Some(reason) => status.set_message(format!("expected to fail: {reason}")),
        None if finding.status == Standing::Own => status.set_message("agrees with the project's own oracle"),
        None => status.set_message(finding.text.first().map_or("", String::as_str)),
    };
    if finding.status > Standing::Skipped {
        status.set_description(finding.text.join("\n"));
    }
    let mut test = TestCase::new(name, status);
    test.set_classname(format!("{class}.{}", finding.case.as_deref().unwrap_or("model")));
    test
}

/// A test about the checkpoint as a whole.
fn alone(class: &str, name: &str, mut status: TestCaseStatus, message: &str) -> TestCase {
    status.set_message(message);
    let mut test = TestCase::new(name, status);
    test.set_classname(format!("{class}.model"));
    test
}
