use rstest::rstest;

use super::laws::COUNTER;
use super::*;
use crate::judge::gate::{Gate, GeneratingPath, by_laws, shut_by};
use crate::judge::{Finding, Verdict};

fn outcome(n: usize, verdict: Option<Verdict>) -> Outcome {
    let finding = |verdict| Finding::new("a fact", verdict);
    let (skipped, notes) = (verdict.is_none().then(|| "no weights".to_owned()), vec![]);
    let findings = verdict.into_iter().map(finding).collect();
    Outcome { checkpoint: checkpoints::ALL[n], findings, skipped, notes }
}

#[test]
fn a_skipped_checkpoint_blocks_generation() {
    assert_eq!(shut_by(&[outcome(0, Some(Verdict::Pass(0.5)))]), None);
    let skipped = [outcome(0, Some(Verdict::Pass(0.5))), outcome(1, None)];
    assert_eq!(shut_by(&skipped), Some((Status::Skipped, "00B tokens".into())));
}

#[test]
fn the_first_failure_is_reported_before_checkpoints_that_could_not_be_judged() {
    let broken = || Some(Verdict::Broken("x".into()));
    let outcomes = [outcome(2, Some(Verdict::Incomparable)), outcome(5, broken()), outcome(7, broken())];
    assert_eq!(shut_by(&outcomes), Some((Status::Failed, "03 attention".into())));
}

#[test]
fn an_expected_failure_blocks_generation() {
    let mut failed = outcome(0, Some(Verdict::NeverReached));
    failed.findings[0].expected = Some("known".into());
    assert_eq!(shut_by(&[failed]), Some((Status::Expected, "00 weights".into())));
}

/// The gate of tiny-llama's plain path with these cases of the references of `fixture`, and the checkpoints
/// that were announced.
fn gate(fixture: Option<&str>, cases: &[&str]) -> (Gate, Vec<&'static str>) {
    let mut fixture = fixture.map(|name| models::fixture(name).unwrap());
    if let Some(fixture) = &mut fixture {
        fixture.cases = cases.iter().map(|case| case.to_string()).collect();
    }
    let model = Model { fixture, ..tiny() };
    let (device, dtype, path) = (&Device::Cpu, DType::F32, Attention::Plain.into());
    let path = GeneratingPath { model: &model, device, dtype, path };
    let mut done = vec![];
    let gate = path.gate(&[1, 70, 3, 200, 5], |outcome| done.push(outcome.checkpoint.id)).unwrap();
    (gate, done)
}

#[rstest]
#[case::a_correct_path("tiny-llama", &["single"], Gate::Open)]
#[case::another_models_references("tiny-llama2", &["short"], shut(Status::Failed, "00 weights"))]
#[case::no_cases("tiny-llama", &[], shut(Status::NotJudged, "01 rms_norm"))]
fn a_path_with_references_must_pass_every_checkpoint(
    #[case] fixture: &str,
    #[case] cases: &[&str],
    #[case] want: Gate,
) {
    let (gate, done) = gate(Some(fixture), cases);
    assert_eq!((gate, done), (want, checkpoints::ALL.map(|checkpoint| checkpoint.id).into()));
}

fn shut(status: Status, checkpoint: &str) -> Gate {
    Gate::Shut(status, format!("checkpoint {checkpoint} has not passed on the plain path"))
}

#[test]
fn a_path_without_references_is_judged_by_the_own_oracle() {
    assert_eq!(gate(None, &[]), (Gate::Own, vec!["00B", "01", "01B", "02", "03", "05", "06", "07"]));
}

#[test]
fn a_path_without_references_whose_cache_is_inconsistent_may_not_generate() {
    let what = "checkpoint 04 kv_cache: lm_head (in chunks, plain, feed own)".to_owned();
    assert_eq!(by_laws(&mut { COUNTER }, &[1, 2, 3, 4, 5]).unwrap(), Some(Gate::Shut(Status::Failed, what)));
}
