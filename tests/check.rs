//! `Check`, the library's short API: open a reference, run your model in a closure, assert.

#[path = "../examples/llama/mod.rs"]
mod llama;
mod plain;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use candle_core::{DType, Tensor};
use insta::assert_snapshot;
use llama::{Llama, Tap};
use plain::Plain;
use rbees_check::check::{Check, Checked};
use rbees_check::judge::{Status, Verdict};
use rbees_check::probe::{Arithmetic, Kind};
use rbees_check::reference::Reference;
use rbees_check::weights::Weights;
use rbees_check::{Error, Result, models};
use rstest::rstest;

fn fixtures(path: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fixtures", path].iter().collect()
}

fn reference(case: &str) -> Reference {
    Reference::open(fixtures(case)).unwrap()
}

fn candle_llama() -> Llama {
    Llama::open(&fixtures("tiny-llama")).unwrap()
}

/// A forward pass of the Candle port, starting with an empty cache.
fn forward(llama: &Llama, case: &Reference, tap: Tap) -> candle_core::Result<Tensor> {
    let tokens = case.tokens();
    llama.forward(&tokens.ids, &tokens.positions, &tokens.mask, &mut vec![], tap)
}

/// A check that declares the axes of the port written in plain loops.
fn plain<'a>(case: &'a Reference) -> Check<'a> {
    Check::against(case).axes(Kind::QRope, "s h d").axes(Kind::KRope, "s h d")
}

/// The message of the panic.
fn panics(assertion: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(assertion)).expect_err("it should have panicked");
    *panic.downcast::<String>().expect("a text")
}

/// The largest share of its budget that any site used.
fn largest_share(checked: &Checked) -> f64 {
    let share = |verdict: &Verdict| if let Verdict::Pass(share) = verdict { *share } else { f64::INFINITY };
    let findings = checked.outcomes().iter().flat_map(|outcome| &outcome.findings);
    findings.map(|finding| share(&finding.verdict)).fold(0.0, f64::max)
}

#[rstest]
fn a_correct_candle_port_passes_every_site_under_half_of_its_budget(
    #[values("single", "short", "batch-left", "long", "far")] case: &str,
) {
    let (llama, case) = (candle_llama(), reference(&format!("tiny-llama/{case}")));
    let checked = Check::against(&case)
        .run(|probe| forward(&llama, &case, &mut |name, tensor| Ok(probe.tap(name, tensor)?)))
        .unwrap();
    checked.assert_complete();
    assert!(largest_share(&checked) < 0.5, "{}", checked.report());
}

#[rstest]
#[case("tiny-llama", "single")]
#[case("tiny-llama", "short")]
#[case("tiny-llama2", "short")]
fn a_correct_port_that_never_takes_tensors_back_passes_under_half_of_every_budget(
    #[case] model: &str,
    #[case] case: &str,
) {
    let (case, weights) = (reference(&format!("{model}/{case}")), models::open(model).unwrap().weights);
    let (port, ids) = (Plain::new(&weights), case.manifest.ids[0].clone());
    let checked = plain(&case).run(|probe| port.forward(&ids, probe)).unwrap();
    checked.assert_complete();
    assert!(largest_share(&checked) < 0.5, "{}", checked.report());
}

#[test]
fn the_report_of_a_correct_port_matches_its_snapshot() {
    let (case, weights) = (reference("tiny-llama/short"), models::open("tiny-llama").unwrap().weights);
    let port = Plain::new(&weights);
    let checked = plain(&case).run(|probe| port.forward(&case.manifest.ids[0], probe)).unwrap();
    assert_snapshot!(checked.report());
}

/// The check of a plain port of `tiny-llama` with a mistake.
fn wrong(mistake: fn(&mut Plain)) -> Checked {
    let (case, weights) = (reference("tiny-llama/short"), models::open("tiny-llama").unwrap().weights);
    let mut port = Plain::new(&weights);
    mistake(&mut port);
    plain(&case).run(|probe| port.forward(&case.manifest.ids[0], probe)).unwrap()
}

#[rstest]
#[case("norm-eps", "model.layers.0.input_layernorm", |port: &mut Plain| port.eps = 1e-5)]
#[case("rope-theta", "model.layers.0.self_attn.q_rope", |port: &mut Plain| port.theta = 1e4)]
#[case("rope-pairing", "model.layers.0.self_attn.q_rope", |port: &mut Plain| port.half_split = false)]
#[case("head-map", "model.layers.0.self_attn.scores", |port: &mut Plain| port.key_head = |h, _, kv| h % kv)]
#[case("gate-up-swapped", "model.layers.0.mlp.act", |port: &mut Plain| port.act = |gate, up| up / (1.0 + (-up).exp()) * gate)]
fn a_mistake_is_named_at_the_first_site_it_changes(
    #[case] name: &str,
    #[case] first: &str,
    #[case] mistake: fn(&mut Plain),
) {
    let checked = wrong(mistake);
    let found = checked.outcomes().iter().flat_map(|o| o.failures()).min_by_key(|f| f.site).unwrap();
    let named: Vec<&str> = checked.outcomes().iter().flat_map(|o| o.named()).map(|n| n.mistake).collect();
    assert_eq!((found.about.as_str(), named.as_slice()), (first, &[name][..]), "{}", checked.report());
}

#[test]
fn the_panic_message_contains_the_failure_report() {
    assert_snapshot!(panics(|| wrong(|port| port.theta = 1e4).assert()));
}

#[test]
fn one_mistake_fails_one_checkpoint_when_the_port_takes_reference_tensors_back() {
    let (mut llama, case) = (candle_llama(), reference("tiny-llama/short"));
    llama.theta = 1e4;
    let run = || {
        Check::against(&case)
            .run(|probe| forward(&llama, &case, &mut |name, tensor| Ok(probe.tap(name, tensor)?)))
    };
    assert_snapshot!(panics(|| run().unwrap().assert()));
}

#[test]
fn a_port_that_taps_no_tensor_fails() {
    let case = reference("tiny-llama/short");
    assert_snapshot!(panics(|| Check::against(&case).run(|_| Ok::<_, Error>(())).unwrap().assert()));
}

#[test]
fn undeclared_axes_are_recognised_from_the_shape() {
    let (llama, case) = (candle_llama(), reference("tiny-llama/short"));
    let checked = Check::against(&case).run(|probe| {
        let mut tap = |name: &str, tensor: Tensor| {
            if name.ends_with("q_rope") {
                // [b, heads, s, d] → [b, s, heads, d] and back
                probe.tap(name, tensor.transpose(1, 2)?.contiguous()?)?.transpose(1, 2)?.contiguous()
            } else {
                Ok(probe.tap(name, tensor)?)
            }
        };
        forward(&llama, &case, &mut tap)
    });
    assert_snapshot!(panics(|| checked.unwrap().assert()));
}

#[test]
fn declared_axes_are_applied_to_tensors_in_both_directions() {
    let (llama, case) = (candle_llama(), reference("tiny-llama/batch-left"));
    let check = Check::against(&case).axes(Kind::QRope, "b s h d").axes(Kind::Context, "s b w");
    let checked = check.run(|probe| {
        let mut tap = |name: &str, tensor: Tensor| {
            let (from, to) = match name.rsplit('.').next() {
                Some("q_rope") => (1, 2),
                Some("context") => (0, 1),
                _ => return Ok(probe.tap(name, tensor)?),
            };
            probe.tap(name, tensor.transpose(from, to)?.contiguous()?)?.transpose(from, to)?.contiguous()
        };
        forward(&llama, &case, &mut tap)
    });
    checked.unwrap().assert_complete();
}

#[test]
fn a_correct_port_with_interleaved_rows_fails_with_a_hint_to_declare_it() {
    let (case, model) = (reference("tiny-llama/short"), fixtures("tiny-llama/gguf/tiny-llama-f16.gguf"));
    let weights = Weights::open(&model).unwrap();
    let mut port = Plain::new(&weights);
    port.half_split = false;
    let run = |check: Check<'_>| check.run(|probe| port.forward(&case.manifest.ids[0], probe)).unwrap();
    assert_snapshot!(panics(|| run(plain(&case)).assert()));
    run(plain(&case).interleaved()).assert_complete();
}

#[test]
fn renamed_sites_are_judged_and_the_rest_are_reported_as_missing() {
    let (llama, case) = (candle_llama(), reference("tiny-llama/short"));
    let check = Check::against(&case).rename("blk.{}.attn_q", Kind::QProj).rename("output", Kind::Logits);
    let own = |name: &str| match name {
        "lm_head" => "output".to_owned(),
        name => name.replace("model.layers", "blk").replace("self_attn.q_proj", "attn_q"),
    };
    let checked = check.run(|probe| {
        let mut tap = |name: &str, tensor: Tensor| match own(name) {
            name if name == "output" || name.ends_with("attn_q") => Ok(probe.tap(name, tensor)?),
            _ => Ok(tensor),
        };
        forward(&llama, &case, &mut tap)
    });
    let checked = checked.unwrap();
    checked.assert();
    let judged = checked.outcomes().iter().filter(|o| o.status() == Status::Passed);
    assert_eq!(judged.map(|o| o.checkpoint.id).collect::<Vec<_>>(), ["02", "07"]);
    let complaint = panics(|| checked.assert_complete());
    assert!(complaint.contains("never handed over: model.embed_tokens, input_layernorm"), "{complaint}");
}

/// The check of the Candle port. For each tensor, `tap` returns what to tap, or `None` to skip the tensor.
fn with(case: &Reference, tap: impl Fn(&str, Tensor) -> Option<Tensor>) -> Result<Checked> {
    let llama = candle_llama();
    Check::against(case).run(|probe| {
        let mut tap = |name: &str, tensor: Tensor| match tap(name, tensor.clone()) {
            None => Ok(tensor),
            Some(altered) => Ok(probe.tap(name, altered)?),
        };
        forward(&llama, case, &mut tap)
    })
}

#[test]
fn a_fused_attention_passes_complete_without_scores_and_probabilities() {
    let case = reference("tiny-llama/short");
    let fused =
        |name: &str, tensor| (!name.ends_with("scores") && !name.ends_with("probs")).then_some(tensor);
    let checked = with(&case, fused).unwrap();
    checked.assert_complete();
    let drives = checked.outcomes().iter().flat_map(|o| &o.findings).filter(|f| f.about.ends_with("context"));
    assert!(drives.map(|f| &f.drive).all(|drive| drive.to_string() == "your port, feed site"));
}

#[test]
fn a_port_that_never_taps_a_norm_has_its_projections_judged_from_the_block_input() {
    let case = reference("tiny-llama/short");
    let checked = with(&case, |name, tensor| (!name.ends_with("input_layernorm")).then_some(tensor)).unwrap();
    checked.assert();
    assert!(largest_share(&checked) < 0.5, "{}", checked.report());
    let drives = checked.outcomes().iter().flat_map(|o| &o.findings).filter(|f| f.about.ends_with("q_proj"));
    assert!(drives.map(|f| &f.drive).all(|drive| drive.to_string() == "your port, feed block"));
}

#[test]
fn a_site_that_only_one_layer_does_not_tap_fails() {
    let case = reference("tiny-llama/short");
    let checked = with(&case, |name, tensor| (name != "model.layers.2.mlp.act").then_some(tensor)).unwrap();
    let red = checked.outcomes().iter().flat_map(|o| o.failures());
    let red: Vec<_> = red.map(|f| (f.about.as_str(), &f.verdict)).collect();
    assert_eq!(red, [("model.layers.2.mlp.act", &Verdict::NeverReached)]);
}

#[test]
fn a_bf16_tensor_in_a_float32_check_fails_with_a_hint_to_declare_the_dtype() {
    let case = reference("tiny-llama/short");
    let half = |name: &str, tensor: Tensor| match name {
        "model.norm" => tensor.to_dtype(DType::BF16).ok(),
        _ => None,
    };
    let report = Check::against(&case)
        .run(|probe| {
            forward(&candle_llama(), &case, &mut |name, tensor| match half(name, tensor.clone()) {
                Some(half) => probe.tap(name, half)?.to_dtype(DType::F32),
                None => Ok(tensor),
            })
        })
        .unwrap()
        .report();
    assert!(report.contains("got a bf16 tensor in a f32 run"), "{report}");
    assert!(
        report.contains("hint: model.norm is bf16: if the port computes in bf16, call `.dtype(DType::BF16)`")
    );
}

#[test]
fn a_port_that_ignores_the_returned_tensors_is_judged_on_its_own_values() {
    let (llama, case) = (candle_llama(), reference("tiny-llama/short"));
    let checked = Check::against(&case).run(|probe| {
        let mut tap = |name: &str, tensor: Tensor| probe.tap(name, tensor.clone()).map(|_| Ok(tensor))?;
        forward(&llama, &case, &mut tap)
    });
    let checked = checked.unwrap();
    checked.assert_complete();
    assert!(checked.report().contains("on its own values"), "{}", checked.report());
}

#[test]
fn a_port_that_returns_an_error_fails_and_the_sites_it_tapped_are_judged() {
    let (llama, case) = (candle_llama(), reference("tiny-llama/short"));
    let checked = Check::against(&case).run(|probe| {
        let mut tap = |name: &str, tensor: Tensor| match name {
            "model.layers.1.self_attn.scores" => candle_core::bail!("out of memory"),
            _ => Ok(probe.tap(name, tensor)?),
        };
        forward(&llama, &case, &mut tap)
    });
    assert_snapshot!(panics(|| checked.unwrap().assert()));
}

/// The error of a check that could not judge, and its hint.
fn refused(checked: Result<Checked>) -> String {
    let error = checked.unwrap_err();
    format!("{error} | {}", error.hint().unwrap_or_default())
}

#[test]
fn misusing_the_probe_is_an_error_even_if_the_port_ignores_the_result() {
    let case = reference("tiny-llama/short");
    let check = || Check::against(&case);
    let misspelled = check().run(|probe| probe.tap_raw("model.layers.0.self_attn.qproj", &[1], &[0.0]));
    assert!(
        refused(misspelled)
            .starts_with("`model.layers.0.self_attn.qproj` is not a site | sites are named as")
    );
    let kept_quiet = check().run(|probe| {
        let _ = probe.tap_raw("model.norm", &[13, 128], &[0.0]);
        Ok::<_, Error>(())
    });
    assert!(refused(kept_quiet).starts_with("model.norm: 1 values do not fill the shape [13, 128]"));
    let twice = check().run(|probe| {
        probe.tap_raw("model.norm", &[1], &[0.0])?;
        probe.tap_raw("model.norm", &[1], &[0.0])
    });
    assert!(refused(twice).starts_with("model.norm: handed over twice"));
}

#[test]
fn a_cache_kept_between_runs_is_an_error() {
    let (llama, case, mut cache) = (candle_llama(), reference("tiny-llama/short"), vec![]);
    let tokens = case.tokens();
    let mut mask = tokens.mask.clone();
    let checked = Check::against(&case).run(|probe| {
        let tap: Tap = &mut |name, tensor| Ok(probe.tap(name, tensor)?);
        let logits = llama.forward(&tokens.ids, &tokens.positions, &mask, &mut cache, tap);
        mask = Tensor::cat(&[&mask, &tokens.mask], 1)?;
        logits
    });
    assert!(refused(checked).contains("empty the cache at its start"));
}

#[test]
fn an_invalid_check_setting_is_an_error() {
    let case = reference("tiny-llama/short");
    let check = || Check::against(&case);
    let says = |check: Check<'_>, what: &str| {
        let refused = refused(check.run(|_| Ok::<_, Error>(())));
        assert!(refused.contains(what), "{refused}");
    };
    says(check().axes(Kind::QRope, "b s"), "`b s` are not the axes of self_attn.q_rope");
    says(check().rename("wq", Kind::QProj), "`wq` cannot name sites such as model.layers.0.self_attn.q_proj");
    says(check().dtype(DType::F64), "f64: no noise was measured in this dtype");
    says(check().arithmetic(Arithmetic::Blocks32), "no reference for quantized-32 arithmetic");
}
