//! A recording used as a port: it replays the recorded tensors to the probe and is judged like any other
//! port.

mod recorded;

use candle_core::{DType, Device};
use rbees_check::checkpoints;
use rbees_check::judge::{self, Outcome, Status, Subject};
use rbees_check::model::Attention;
use rbees_check::models;
use rbees_check::recording::{RecordedPort, Recording, Vocabulary};
use rbees_check::reference::Feed;
use recorded::{Arrays, ids, pass, short, write};
use rstest::rstest;

/// The outcome of checkpoint 07 for a recorded pass over the case `short` of tiny-llama, on its own values.
fn judged(arrays: &Arrays) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let recording = Recording::open(&write(folder.path(), arrays), &Vocabulary::default()).unwrap();
    let model = models::open("tiny-llama").unwrap();
    let no_paths: &[Attention] = &[];
    let mut subject = Subject::new(&model, &["short".into()], &Device::Cpu, DType::F32, no_paths).unwrap();
    let config = model.weights.config().clone();
    let traits = recording.traits(&config).unwrap();
    subject.ports = vec![Box::new(RecordedPort::new(recording, Some(config), traits))];
    subject.feed = Some(Feed::Own);
    judge::run(&mut subject, checkpoints::find("07").unwrap()).unwrap()
}

#[test]
fn a_correct_recording_passes_at_every_site_of_the_checkpoint() {
    let outcome = judged(&short());
    assert_eq!((outcome.status(), outcome.findings.len()), (Status::Passed, 2), "{:?}", outcome.findings);
    assert!(outcome.findings.iter().all(|finding| finding.drive.to_string() == "recorded, feed own"));
}

#[rstest]
#[case::final_norm("model.norm")]
#[case::logits("lm_head")]
fn a_site_missing_from_the_recording_fails(#[case] site: &str) {
    let mut arrays = short();
    arrays.remove(site).unwrap();
    let outcome = judged(&arrays);
    let missing: Vec<&str> = outcome.failures().map(|finding| finding.about.as_str()).collect();
    assert_eq!(missing, [site]);
}

#[test]
fn a_recording_with_a_wrong_theta_fails() {
    let outcome = judged(&pass(&ids("short"), |config| config.rope_theta = 1e4));
    assert_eq!(outcome.failures().count(), 2);
}
