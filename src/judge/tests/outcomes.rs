use rstest::rstest;

use super::*;
use crate::diagnose::{Diagnosis, Named};
use crate::judge::Drive;
use crate::judge::set_aside::{of_one_layer, of_one_site, set_aside};
use crate::judge::{Finding, Verdict, all_judged, run_all};
use crate::probe::Arithmetic;
use crate::reference::Reference;

fn of(verdicts: &[Verdict]) -> Outcome {
    let findings = verdicts.iter().map(|verdict| Finding::new("made", verdict.clone())).collect();
    Outcome { checkpoint: checkpoints::find("02").unwrap(), findings, skipped: None, notes: vec![] }
}

#[rstest]
#[case::nothing_was_judged(&[], Status::NotJudged)]
#[case::all_pass(&[Verdict::Pass(0.1), Verdict::Pass(0.2)], Status::Passed)]
#[case::one_fails(&[Verdict::Pass(0.1), Verdict::NeverReached], Status::Failed)]
#[case::one_is_inconclusive(&[Verdict::Pass(0.1), Verdict::Incomparable], Status::NotJudged)]
#[case::failing_is_worse(&[Verdict::Incomparable, Verdict::Unclaimed], Status::Failed)]
fn a_checkpoint_has_the_status_of_its_worst_finding(#[case] verdicts: &[Verdict], #[case] status: Status) {
    assert_eq!(of(verdicts).status(), status);
}

#[test]
fn expected_failures_and_skipped_checkpoints_are_not_failures() {
    let mut outcome = of(&[Verdict::NeverReached, Verdict::Pass(0.1)]);
    outcome.findings.iter_mut().for_each(|f| f.expected = Some("known".into()));
    assert_eq!((outcome.status(), outcome.failures().count()), (Status::Expected, 0));
    let skipped = Outcome { skipped: Some("why".into()), ..of(&[Verdict::NeverReached]) };
    assert_eq!(skipped.status(), Status::Skipped);
}

#[test]
fn the_worst_finding_is_the_passing_one_with_the_largest_share() {
    let outcome = of(&[Verdict::Pass(0.1), Verdict::NeverReached, Verdict::Pass(0.3), Verdict::Pass(0.2)]);
    assert_eq!(outcome.worst().map(|f| &f.verdict), Some(&Verdict::Pass(0.3)));
    assert_eq!(of(&[Verdict::Pass(0.0)]).worst().map(|f| &f.verdict), Some(&Verdict::Pass(0.0)));
    assert!(of(&[Verdict::NeverReached]).worst().is_none());
}

/// An outcome with failures at these sites, each explained by these mistakes.
fn explained(sites: &[(&str, &'static str)]) -> Outcome {
    let mut outcome = of(&[]);
    for (name, mistakes) in sites {
        let named = |mistake| Named {
            mistake,
            says: "".into(),
            fix: "".into(),
            residual: 0.1,
            flips: 0,
            same_as: vec![],
            details: None,
        };
        let named = mistakes.split_whitespace().map(named).collect();
        let explained = Some(Diagnosis { named, runner_up: None });
        let finding = Finding::new(*name, Verdict::NeverReached);
        outcome.findings.push(Finding { site: Some(site(name)), explained, ..finding });
    }
    outcome
}

const Q0: &str = "model.layers.0.self_attn.q_rope";
const Q1: &str = "model.layers.1.self_attn.q_rope";
const Q2: &str = "model.layers.2.self_attn.q_rope";
const K0: &str = "model.layers.0.self_attn.k_rope";

#[rstest]
#[case::one_for_all(&[(Q0, "a"), (Q1, "a")], "a")]
#[case::two_that_explain_equally(&[(Q0, "a b"), (Q1, "b a"), (K0, "c")], "a b c")]
#[case::the_one_that_both_layers_share(&[(Q0, "a b"), (Q1, "b")], "b")]
#[case::two_layers_two_mistakes(&[(Q0, "a"), (Q1, "b")], "a b")]
#[case::a_third_site_that_one_of_them_explains(&[(Q0, "a"), (Q1, "b"), (Q2, "a c")], "a b")]
#[case::another_kind_with_two_mistakes(&[(Q0, "a"), (K0, "a c")], "a c")]
#[case::the_same_mistake_at_two_kinds_is_named_once(&[(Q0, "a"), (K0, "a")], "a")]
#[case::an_unexplained_site_hides_no_mistake(&[(Q0, ""), (Q1, "a")], "a")]
#[case::nothing(&[(Q0, "")], "")]
fn each_mistake_is_named_once(#[case] sites: &[(&str, &'static str)], #[case] want: &str) {
    let outcome = explained(sites);
    let named: Vec<&str> = outcome.named().iter().map(|named| named.mistake).collect();
    assert_eq!(named.join(" "), want);
}

#[test]
fn a_site_covered_by_noise_is_set_aside_if_it_was_judged_elsewhere() {
    let mut outcome = of(&[Verdict::Incomparable, Verdict::Pass(0.1), Verdict::Incomparable]);
    outcome.findings[0].case = "far".into();
    outcome.findings[0].incomparable = 3;
    outcome.findings[2].about = "alone".into();
    set_aside(&mut outcome, "judged elsewhere", |inconclusive, other| inconclusive.about == other.about);
    let left: Vec<&str> = outcome.findings.iter().map(|f| f.about.as_str()).collect();
    assert_eq!(left, ["made", "alone"]);
    assert_eq!(
        outcome.notes,
        ["made (far; ): not judged, because all 3 rows are no larger than their noise; judged elsewhere"]
    );
    assert_eq!(outcome.status(), Status::NotJudged);
}

#[rstest]
#[case::itself("short", "plain", Q0, true, true)]
#[case::its_layer("short", "plain", K0, true, false)]
#[case::another_layer("short", "plain", Q1, false, false)]
#[case::another_case("long", "plain", Q0, false, true)]
#[case::another_drive("short", "fused", Q0, false, false)]
fn findings_are_grouped_by_layer_and_by_site(
    #[case] case: &str,
    #[case] path: &'static str,
    #[case] at: &str,
    #[case] layer: bool,
    #[case] same: bool,
) {
    let finding = |case: &str, path: &'static str, at: &str| Finding {
        site: Some(site(at)),
        case: case.into(),
        drive: Drive::Path(path),
        ..Finding::new(at, Verdict::Incomparable)
    };
    let (a, b) = (finding("short", "plain", Q0), finding(case, path, at));
    assert_eq!((of_one_layer(&a, &b), of_one_site(&a, &b)), (layer, same));
}

/// Runs 02 and 09 on a port whose q is wrong or right, and returns their statuses and skip reasons.
fn with_generation(bend: Bend, expected: bool) -> Vec<(Status, Option<String>)> {
    let model = tiny();
    let mut subject = subject(&model, &["single"]);
    subject.ports = vec![Box::new(Bent { port: LlamaPort::new(llama(&model, Attention::Plain)), bend })];
    let ids = ["02", "09"].map(|id| checkpoints::find(id).unwrap());
    let mut seen = vec![];
    let outcomes = run_all(&mut subject, &ids, |outcome| {
        seen.push(outcome.checkpoint.id);
        if expected {
            outcome.findings.iter_mut().for_each(|f| f.expected = Some("known".into()));
        }
        Ok(())
    });
    assert_eq!(seen, ["02", "09"]);
    outcomes.unwrap().into_iter().map(|o| (o.status(), o.skipped)).collect()
}

#[test]
fn generation_is_skipped_after_an_unexpected_failure() {
    let wrong = || at("model.layers.0.self_attn.q_proj", |q| Ok(Some((q * 2.0)?)));
    let waits = (Status::Skipped, Some("not run because 02 did not pass".to_owned()));
    assert_eq!(with_generation(wrong(), false), [(Status::Failed, None), waits]);
    assert_eq!(with_generation(wrong(), true)[0].0, Status::Expected);
    assert_eq!(with_generation(wrong(), true)[1].1, None);
    assert_eq!(with_generation(unbent(), false), [(Status::Passed, None), (Status::Passed, None)]);
}

fn short() -> Reference {
    tiny().fixture.unwrap().case("short").unwrap()
}

/// The error of judging these references with these traits, if any.
fn refused(case: &Reference, change: impl FnOnce(&mut Traits)) -> Option<String> {
    let mut traits = LlamaPort::new(llama(&tiny(), Attention::Fused)).traits();
    change(&mut traits);
    all_judged(case, &traits).err().map(|error| error.to_string())
}

#[test]
fn every_stored_site_must_be_used_by_a_checkpoint() {
    assert_eq!(refused(&short(), |_| ()), None);
    // A rotation without the projection that it is computed from cannot be judged.
    let rotated = short().keeping(|site, _| site.kind == Kind::QRope);
    assert!(
        refused(&rotated, |_| ()).unwrap().contains("no checkpoint judges model.layers.0.self_attn.q_rope")
    );
    // A projection that only feeds the rotation is not judged, but it is used.
    let both = short().keeping(|site, _| matches!(site.kind, Kind::QRope | Kind::QProj));
    assert_eq!(refused(&both, |_| ()), None);
    // A third site that no checkpoint uses is refused, even if others are judged.
    let third = short().keeping(|site, _| matches!(site.kind, Kind::QRope | Kind::QProj | Kind::Down));
    assert!(refused(&third, |_| ()).unwrap().contains("no checkpoint judges model.layers.0.mlp.down_proj"));
    let outside = refused(&short(), |traits| traits.layers = 3).unwrap();
    assert!(outside.contains("no checkpoint judges model.layers.3"), "{outside}");
    let quantized = refused(&short(), |traits| traits.arithmetic = Arithmetic::Blocks32).unwrap();
    assert!(quantized.starts_with("tiny-llama/short: no reference for"), "{quantized}");
}

/// An error in a diagnosis must not end the run, and must not go unnoticed.
#[test]
fn a_failed_diagnosis_adds_one_note_per_reason() {
    let failing = |about: &str, why: &str| {
        let mut finding = Finding::new(about, Verdict::NeverReached);
        finding.set_explanation(Err(Error::input(why, "")));
        finding
    };
    let findings =
        vec![failing(Q0, "no such weight"), failing(Q1, "no such weight"), failing(K0, "too short")];
    let checkpoint = checkpoints::find("02").unwrap();
    let mut outcome = Outcome { checkpoint, findings, skipped: None, notes: vec![] };
    outcome.note_unexplained();
    let notes = [(Q0, "no such weight"), (K0, "too short")];
    assert_eq!(outcome.notes, notes.map(|(site, why)| format!("{site} could not be diagnosed: {why}")));
}
