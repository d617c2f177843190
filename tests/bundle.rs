//! A bundle reproduces a failing site without the port: same site, same worst element, same suspect.

mod bundled;
mod program;

use std::fs;
use std::path::Path;

use bundled::{rerun, unzipped};
use candle_core::{DType, Device};
use program::{home, rbees_in, stderr, wrong_theta};
use rbees_check::judge::{self, Finding, LlamaPort, Outcome, Status, Subject};
use rbees_check::model::{Attention, Llama};
use rbees_check::plants::{self, Correct};
use rbees_check::report::json::{self, Report, Verdict};
use rbees_check::weights::Config;
use rbees_check::{bundle, checkpoints, models};
use rstest::rstest;
use serde_json::Value;

/// Asserts that the rerun found the same difference and named the same mistakes as the original run.
fn same(now: &Report, then: &json::Finding) {
    let all: Vec<&json::Finding> =
        now.checkpoints.iter().flat_map(|checkpoint| &checkpoint.findings).collect();
    assert!(all.iter().all(|finding| finding.status == json::Standing::Failed && finding.site == then.site));
    let driven = |how: &str| {
        let found =
            all.iter().find(|finding| finding.drive.as_ref().is_some_and(|drive| drive.starts_with(how)));
        found.unwrap_or_else(|| panic!("no finding was judged by {how}"))
    };
    let difference = |finding: &json::Finding| match &finding.verdict {
        Verdict::Differs(difference) => difference.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(difference(driven("fed reference inputs")), difference(then));
    let named = |finding: &json::Finding| {
        let suspects = finding.suspects.iter().flat_map(|suspects| &suspects.named);
        suspects.map(|named| named.mistake.clone()).collect::<Vec<_>>()
    };
    assert!(!named(then).is_empty());
    assert_eq!(named(driven("replay")), named(then));
}

#[rstest]
#[case::plain(&["--case", "short"])]
#[case::a_padded_batch(&["--case", "batch-left"])]
#[case::fused_in_f16(&["--case", "short", "--attention", "fused", "--dtype", "f16"])]
#[case::far_positions(&["--case", "far"])]
fn a_bundle_reproduces_a_wrong_theta_without_the_model(#[case] args: &[&str]) {
    let folder = home();
    wrong_theta(&folder.path().join("wrong"));
    let first = ["run", "1B", "--model", "wrong", "--references", "tiny-llama", "--bundle", "b.zip"];
    let output = rbees_in(folder.path(), &home(), &[&first[..], args].concat()).output().unwrap();
    let bytes = fs::read(folder.path().join("b.zip")).unwrap_or_else(|_| panic!("{}", stderr(&output)));
    assert!(
        stderr(&output).starts_with("bundle: b.zip of model.layers.0.self_attn.q_rope · rbees-check run 01B")
    );
    let (now, then) = rerun(&bytes);
    same(&now, &then);
    assert_eq!(then.suspects.unwrap().named[0].mistake, "rope-theta");
}

/// A GGUF file orders the rows of q and k differently. A bundle stores them in the reference's order.
#[test]
fn a_bundle_of_a_gguf_model_reproduces_the_failure() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny-llama/gguf/tiny-llama-f16.gguf");
    let mut model = models::open(file).unwrap();
    model.fixture = Some(models::references("tiny-llama").unwrap());
    let (cases, paths) = (["short".to_owned()], [Attention::Plain]);
    let mut subject = Subject::new(&model, &cases, &Device::Cpu, DType::F32, &paths).unwrap();
    let mut wrong = model.weights.clone();
    wrong.set_config(Config { rope_theta: 10_000.0, ..wrong.config().clone() });
    let llama = Llama::load(&wrong, &Device::Cpu, DType::F32, Attention::Plain).unwrap();
    subject.ports = vec![Box::new(LlamaPort::new(llama))];
    let outcome = judge::run(&mut subject, checkpoints::find("1B").unwrap()).unwrap();
    let bundle = bundle::first_failure(&mut subject, &[outcome], "").unwrap().unwrap();
    let (now, then) = rerun(&bundle.zip().unwrap());
    same(&now, &then);
}

/// Judges tiny-llama with a planted mistake by one checkpoint, and passes the outcome to `look`.
fn planted<T>(plant: &str, id: &str, look: impl FnOnce(&mut Subject<'_>, &Outcome) -> T) -> T {
    let model = models::open("tiny-llama").unwrap();
    let llama = Llama::load(&model.weights, &Device::Cpu, DType::F32, Attention::Plain).unwrap();
    let planted = (plants::find(plant).unwrap().make)(&Correct { model: &model, llama: &llama }).unwrap();
    let cases = ["short".to_owned()];
    let mut subject = Subject::new(&model, &cases, &Device::Cpu, DType::F32, &[Attention::Plain]).unwrap();
    subject.ports = vec![planted.port];
    let outcome = judge::run(&mut subject, checkpoints::find(id).unwrap()).unwrap();
    assert_eq!(outcome.status(), Status::Failed, "{plant}");
    look(&mut subject, &outcome)
}

#[rstest]
#[case("norm-eps", "01")]
#[case("norm-plus-one", "01")]
#[case("rope-pairing", "01B")]
#[case("head-map", "03")]
#[case("attention-scale", "03")]
#[case("gate-up-swapped", "05")]
fn a_bundle_reproduces_a_planted_mistake_without_the_port(#[case] plant: &str, #[case] id: &str) {
    let bytes = planted(plant, id, |subject, outcome| {
        let bundle = bundle::first_failure(subject, std::slice::from_ref(outcome), "").unwrap().unwrap();
        let first = outcome.failures().filter_map(|f: &Finding| f.site).min();
        assert_eq!(Some(bundle.site), first);
        bundle.zip().unwrap()
    });
    let (now, then) = rerun(&bytes);
    same(&now, &then);
}

#[test]
fn a_bundle_contains_only_what_one_operation_needs_and_is_deterministic() {
    let zipped = || {
        planted("norm-eps", "01", |subject, outcome| {
            bundle::first_failure(subject, std::slice::from_ref(outcome), "").unwrap().unwrap().zip().unwrap()
        })
    };
    let bytes = zipped();
    assert!(bytes == zipped(), "two bundles of one run differ");
    let files = unzipped(&bytes);
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    let case = ["short/manifest.json", "short/noise.npz", "short/reference.npz"];
    let rest = ["README.txt", "config.json", "dump.npz", "finding.json", "model.safetensors"];
    assert_eq!(names, [&rest[..], &case[..]].concat());
    let arrays: Vec<String> = unzipped(&files["dump.npz"]).into_keys().collect();
    let sites = ["model.embed_tokens.npy", "model.layers.0.input_layernorm.npy"];
    assert_eq!(
        arrays,
        [&["attention_mask.npy", "input_ids.npy", "metadata.json"][..], &sites, &["position_ids.npy"]]
            .concat()
    );
    let manifest: Value = serde_json::from_slice(&files["short/manifest.json"]).unwrap();
    let stored: Vec<&String> = manifest["sites"].as_object().unwrap().keys().collect();
    assert_eq!(stored, ["model.embed_tokens", "model.layers.0.input_layernorm"]);
    let weights = safetensors::SafeTensors::deserialize(&files["model.safetensors"]).unwrap();
    let mut names = weights.names();
    names.sort_unstable();
    assert_eq!(
        names,
        ["model.layers.0.input_layernorm.weight", "model.layers.0.post_attention_layernorm.weight"]
    );
}

#[test]
fn the_partial_model_of_a_bundle_cannot_be_run_as_a_model() {
    let bytes = planted("norm-eps", "01", |subject, outcome| {
        bundle::first_failure(subject, std::slice::from_ref(outcome), "").unwrap().unwrap().zip().unwrap()
    });
    let folder = home();
    for (name, content) in unzipped(&bytes).iter().filter(|(name, _)| !name.contains('/')) {
        fs::write(folder.path().join(name), content).unwrap();
    }
    let output = rbees_in(folder.path(), &home(), &["run", "1", "--model", "."]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with("error: .: tensor `"), "{}", stderr(&output));
}

#[test]
fn no_bundle_is_written_when_every_site_passes() {
    let folder = home();
    let args = ["run", "1", "--case", "single", "--bundle", "b.zip"];
    let output = rbees_in(folder.path(), &home(), &args).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        stderr(&output),
        "note: b.zip was not written: no site fails with reference inputs and dense arithmetic\n"
    );
    assert!(!Path::new(&folder.path().join("b.zip")).exists());
}

#[test]
fn an_unwritable_bundle_path_is_refused_before_anything_runs() {
    let folder = home();
    let args = ["run", "1", "--case", "single", "--bundle", "no/such/b.zip"];
    let output = rbees_in(folder.path(), &home(), &args).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    assert!(stderr(&output).starts_with("error: --bundle no/such/b.zip: "), "{}", stderr(&output));
}
