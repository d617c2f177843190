//! A recorded pass is a port: it hands over once more what was recorded, and is judged like any other.

mod recorded;

use candle_core::{DType, Device};
use rbees_check::checkpoints;
use rbees_check::judge::{self, Outcome, Status, Subject};
use rbees_check::model::Attention;
use rbees_check::models;
use rbees_check::recording::{Played, Recording, Vocabulary};
use rbees_check::reference::Feed;
use recorded::{Arrays, ids, pass, short, write};
use rstest::rstest;

/// What 07 says of the pass over the case `short` of tiny-llama, on its own values.
fn judged(arrays: &Arrays) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let recording = Recording::open(&write(folder.path(), arrays), &Vocabulary::default()).unwrap();
    let model = models::open("tiny-llama").unwrap();
    let no_paths: &[Attention] = &[];
    let mut subject = Subject::new(&model, &["short".into()], &Device::Cpu, DType::F32, no_paths).unwrap();
    let config = model.weights.config().clone();
    let traits = recording.traits(&config).unwrap();
    subject.ports = vec![Box::new(Played::new(recording, Some(config), traits))];
    subject.feed = Some(Feed::Own);
    judge::run(&mut subject, checkpoints::find("07").unwrap()).unwrap()
}

#[test]
fn a_sound_pass_is_judged_at_every_site_of_the_checkpoint() {
    let outcome = judged(&short());
    assert_eq!((outcome.status(), outcome.findings.len()), (Status::Passed, 2), "{:?}", outcome.findings);
    assert!(outcome.findings.iter().all(|finding| finding.drive.to_string() == "recorded, feed own"));
}

#[rstest]
#[case("model.norm")]
#[case("lm_head")]
fn a_site_that_was_not_recorded_was_never_reached(#[case] site: &str) {
    let mut arrays = short();
    arrays.remove(site).unwrap();
    let outcome = judged(&arrays);
    let missing: Vec<&str> = outcome.failures().map(|finding| finding.about.as_str()).collect();
    assert_eq!(missing, [site]);
}

#[test]
fn a_wrong_pass_is_red() {
    let outcome = judged(&pass(&ids("short"), |config| config.rope_theta = 1e4));
    assert_eq!(outcome.failures().count(), 2);
}
