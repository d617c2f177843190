use rstest::rstest;

use super::*;
use crate::judge::sites::judge_sites;
use crate::judge::{Finding, Verdict};
use crate::reference::{Feed, Place};

const Q: &str = "model.layers.1.self_attn.q_proj";

/// Every stored site of every view is judged: those of four layers and those outside them.
#[rstest]
#[case("01", 4 + 4 + 1)]
#[case("01B", 4 + 4)]
#[case("02", 3 * 4)]
#[case("05", 4 * 4)]
#[case("06", 2 * 4 + 4)]
#[case("07", 1 + 2)]
fn a_correct_port_passes_at_every_site(#[case] id: &str, #[case] sites: usize) {
    let outcome = judged(id, Attention::Plain, unbent());
    assert_eq!((outcome.status(), outcome.findings.len()), (Status::Passed, sites));
    assert_eq!(outcome.notes, [] as [&str; 0]);
    for finding in &outcome.findings {
        let shares = finding.shares.as_ref().unwrap();
        assert!(matches!(finding.verdict, Verdict::Pass(share) if share > 0.0 && share < 0.5), "{finding:?}");
        assert_eq!(shares.of_row.len(), shares.places.len());
        assert_eq!((finding.case.as_str(), finding.incomparable), ("short", 0));
        assert_eq!(finding.site, Some(site(&finding.about)));
    }
}

#[test]
fn sites_that_a_path_cannot_show_are_noted_and_not_judged() {
    let outcome = judged("03", Attention::Fused, unbent());
    assert_eq!((outcome.status(), outcome.findings.len()), (Status::Passed, 2 * 4));
    assert_eq!(outcome.notes, ["fused cannot show self_attn.scores, self_attn.probs"]);
    assert_eq!(judged("03", Attention::Plain, unbent()).findings.len(), 4 * 4);
}

/// The judge returns reference values, so the sites after a wrong one are right again.
#[test]
fn one_wrong_value_fails_one_site() {
    let outcome = judged("02", Attention::Plain, at(Q, |q| Ok(Some(nudged(&q, 7, 0.5)?))));
    assert_eq!(wrong(&outcome), [Q]);
    let Verdict::Differs(difference) = &outcome.failures().next().unwrap().verdict else { panic!() };
    assert_eq!(
        (difference.differing, difference.worst.as_ref().unwrap().index.as_slice()),
        (1, &[0, 0, 7][..])
    );
    assert_eq!(outcome.findings.len(), 12);
}

/// Tests every row of a batch and every head.
#[test]
fn every_row_gets_reference_values_back() {
    let model = tiny();
    let mut subject = subject(&model, &["batch-left"]);
    let bend = at("model.layers.1.self_attn.q_rope", |q| Ok(Some((q * 2.0)?)));
    subject.ports = vec![Box::new(Bent { port: LlamaPort::new(llama(&model, Attention::Plain)), bend })];
    let outcome = run(&mut subject, checkpoints::find("03").unwrap()).unwrap();
    assert_eq!((outcome.status(), outcome.findings.len()), (Status::Passed, 4 * 4), "{:?}", wrong(&outcome));
}

/// With feed `own` no reference values are returned, so every site after a wrong one is wrong too.
#[test]
fn with_feed_own_an_error_propagates() {
    let bend = at("model.layers.0.mlp.down_proj", |down| Ok(Some((down * 1.5)?)));
    assert_eq!(wrong(&judged("05", Attention::Plain, bend)), ["model.layers.0.mlp.down_proj"]);
    let bend = at("model.layers.0.mlp.down_proj", |down| Ok(Some((down * 1.5)?)));
    let outcome = judged("07", Attention::Plain, bend);
    assert_eq!(wrong(&outcome), ["model.norm", "lm_head"]);
    assert!(outcome.failures().all(|finding| finding.drive.to_string() == "plain, feed own"));
}

#[test]
fn a_block_is_judged_from_its_reference_input() {
    let bend = at("model.layers.1.mlp.down_proj", |down| Ok(Some((down * 1.5)?)));
    let outcome = judged("06", Attention::Plain, bend);
    let drives: Vec<(&str, String)> =
        outcome.failures().map(|f| (f.about.as_str(), f.drive.to_string())).collect();
    assert_eq!(drives, [("model.layers.1", "plain, feed block".to_owned())]);
}

#[test]
fn a_site_that_is_not_handed_over_was_never_reached() {
    let outcome = judged("02", Attention::Plain, at(Q, |_| Ok(None)));
    assert_eq!(wrong(&outcome), [Q]);
    assert_eq!(outcome.failures().next().unwrap().verdict, Verdict::NeverReached);
}

#[test]
fn a_wrong_shape_is_reported_before_values_are_compared() {
    let outcome = judged("02", Attention::Plain, at(Q, |q| Ok(Some(q.transpose(1, 2)?))));
    let verdict = &outcome.failures().next().unwrap().verdict;
    assert!(matches!(verdict, Verdict::Shape { got, want } if got[1] == want[2] && got[2] == want[1]));
}

#[test]
fn a_tensor_of_lower_precision_than_the_run_is_reported() {
    let bend = at(Q, |q| Ok(Some(q.to_dtype(DType::BF16)?)));
    let verdict = judged("02", Attention::Plain, bend).failures().next().unwrap().verdict.clone();
    assert_eq!(verdict, Verdict::LowerPrecision { got: "bf16", want: "f32" });
}

#[test]
fn a_tensor_of_higher_precision_is_accepted() {
    let bend = at(Q, |q| Ok(Some(q.to_dtype(DType::F64)?)));
    assert_eq!(judged("02", Attention::Plain, bend).status(), Status::Passed);
}

#[test]
fn an_error_of_the_port_is_a_failure_with_its_message() {
    let stop = |_| Err(Error::input("out of paper", "add some"));
    let outcome = judged("02", Attention::Plain, at(Q, stop));
    assert_eq!(wrong(&outcome), ["forward"]);
    let finding = outcome.failures().next().unwrap();
    assert!(matches!(&finding.verdict, Verdict::Broken(how) if how.contains("out of paper")));
    assert_eq!((finding.case.as_str(), finding.drive.to_string().as_str()), ("short", "plain, feed site"));
}

/// The outcome of checkpoint `id` for this modified port, if only these rows of the case are stored.
fn keeping(id: &str, keep: impl Fn(Site, Place) -> bool, bend: Bend) -> Outcome {
    let model = tiny();
    let mut subject = subject(&model, &["short"]);
    subject.cases = subject.cases.into_iter().map(|case| case.keeping(&keep)).collect();
    subject.ports = vec![Box::new(Bent { port: LlamaPort::new(llama(&model, Attention::Plain)), bend })];
    run(&mut subject, checkpoints::find(id).unwrap()).unwrap()
}

/// Where the case lacks an operation's input, the port continues with its own value, so the row is not
/// judged.
#[test]
fn a_row_is_judged_only_if_its_inputs_are_stored() {
    let lacks = |site: Site, (_, position): Place| site.to_string() != Q || position >= 5;
    let rotated = keeping("01B", lacks, at(Q, |q| Ok(Some((q * 2.0)?))));
    assert_eq!((rotated.status(), rotated.findings.len()), (Status::Passed, 8), "{:?}", wrong(&rotated));
    let of_q = rotated.findings.iter().find(|f| f.about == "model.layers.1.self_attn.q_rope").unwrap();
    let places = of_q.shares.as_ref().unwrap().places.iter().map(|(_, position)| *position);
    assert_eq!(places.collect::<Vec<_>>(), (5..13).collect::<Vec<_>>());
}

/// Scores use every key and a context uses every value: if one of these is not stored, no row is judged.
#[test]
fn scores_and_context_are_judged_only_if_all_keys_and_values_are_stored() {
    let lacks = |site: Site, (_, position): Place| {
        let lacking = ["model.layers.1.self_attn.k_rope", "model.layers.2.self_attn.v_proj"];
        position != 3 || !lacking.contains(&site.to_string().as_str())
    };
    let outcome = keeping("03", lacks, unbent());
    let judged: Vec<&str> = outcome.findings.iter().map(|f| f.about.as_str()).collect();
    assert_eq!((outcome.status(), judged.len()), (Status::Passed, 4 * 4 - 2));
    assert!(!judged.contains(&"model.layers.1.self_attn.scores"));
    assert!(!judged.contains(&"model.layers.2.self_attn.context"));
}

/// Findings at every q_proj of a bf16 port whose layers 1 and 2 negate their queries.
fn turned(feed: Feed, factor: f64) -> Vec<Finding> {
    let model = tiny();
    let bend = |site: Site, tensor: Tensor| {
        let turns = matches!(site.layer, Some(1 | 2)) && site.kind == Kind::QProj;
        Ok(Some(if turns { tensor.neg()? } else { tensor }))
    };
    let llama = Llama::load(&model.weights, &Device::Cpu, DType::BF16, Attention::Plain).unwrap();
    let mut port = Bent { port: LlamaPort::new(llama), bend: Box::new(bend) };
    let case = model.fixture.as_ref().unwrap().case("short").unwrap();
    let factor = |kind| (kind == Kind::QProj).then_some(factor);
    judge_sites(&mut port, &case, feed, &factor, Some(&model.weights)).unwrap()
}

/// With reference inputs at every site, each failing site is diagnosed separately. On the port's own values,
/// later failures are computed from the first, so only the first is diagnosed.
#[rstest]
#[case(Feed::Site, &[1, 2])]
#[case(Feed::Own, &[1])]
fn failing_sites_are_diagnosed_if_their_inputs_are_known(#[case] feed: Feed, #[case] layers: &[u16]) {
    let findings = turned(feed, 8.0);
    let looked = findings.iter().filter(|f| f.explained.is_some());
    assert_eq!(looked.map(|f| f.site.unwrap().layer.unwrap()).collect::<Vec<_>>(), layers);
}

#[test]
fn rows_that_cannot_be_judged_are_counted_and_the_site_is_not_judged() {
    for finding in turned(Feed::Site, 1e6) {
        assert_eq!((finding.status(), finding.incomparable), (Status::NotJudged, 13), "{finding:?}");
    }
}

#[test]
fn a_checkpoint_that_does_not_use_the_chosen_feed_is_skipped() {
    let model = tiny();
    let mut subject = subject(&model, &["short"]);
    subject.ports = vec![Box::new(LlamaPort::new(llama(&model, Attention::Plain)))];
    subject.feed = Some(Feed::Own);
    let mut outcome_of = |id| run(&mut subject, checkpoints::find(id).unwrap()).unwrap();
    assert_eq!(outcome_of("02").skipped.as_deref(), Some("judges nothing under feed own"));
    let whole = outcome_of("07");
    assert_eq!((whole.status(), whole.findings.len()), (Status::Passed, 2));
    // Texts need no feed: they are judged, but the embedding is not.
    let texts = outcome_of("00B");
    assert_eq!((texts.status(), texts.skipped), (Status::Passed, None));
    assert!(texts.findings.iter().all(|f| f.site.is_none()));
}
