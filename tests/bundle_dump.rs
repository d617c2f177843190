//! A bundle of a failing site of a recording: the command in its README gives the same verdict.

mod bundled;
mod program;
mod recorded;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use bundled::{rerun, unzipped};
use candle_core::{DType, Device, Tensor};
use program::{home, rbees_in, stderr, stdout};
use rbees_check::judge::LlamaPort;
use rbees_check::model::{Attention, Llama};
use rbees_check::models;
use rbees_check::plants::{self, Correct};
use rbees_check::report::json::{self, Report};
use rbees_check::weights::Config;
use recorded::{Arrays, ids, input_of, pass, pass_over, short, write, write_folder, write_npz};
use rstest::rstest;
use serde_json::Value;
use tempfile::{TempDir, tempdir};

/// A prompt without a stored reference.
const OTHER_PROMPT: [u32; 6] = [5, 99, 7, 300, 12, 8];

fn theta(config: &mut Config) {
    config.rope_theta = 1e4;
}

/// Runs `run --dump FILE --bundle b.zip` with more arguments, in `folder`.
fn judged(folder: &Path, dump: &Path, more: &[&str]) -> Output {
    let args = [&["run", "--dump", dump.to_str().unwrap(), "--bundle", "b.zip"], more].concat();
    rbees_in(folder, &home(), &args).output().unwrap()
}

/// The bundle of the recording that `write` writes, and stderr.
fn bundle(write: impl Fn(&Path) -> PathBuf, more: &[&str]) -> (Vec<u8>, String) {
    let folder = tempdir().unwrap();
    let output = judged(folder.path(), &write(folder.path()), more);
    let printed = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{}{printed}", stdout(&output));
    (fs::read(folder.path().join("b.zip")).unwrap_or_else(|_| panic!("{printed}")), printed)
}

/// Asserts that the rerun has a finding of the same drive as `then`, and that it is equal to the last digit.
fn same(now: &Report, then: &json::Finding) {
    let all: Vec<&json::Finding> = now.checkpoints.iter().flat_map(|of| &of.findings).collect();
    let failed = |finding: &&&json::Finding| finding.status == json::Standing::Failed;
    assert!(all.iter().filter(failed).all(|finding| finding.site == then.site), "{all:#?}");
    let found = all.iter().find(|finding| finding.drive == then.drive);
    let found = found.unwrap_or_else(|| panic!("{:?} is not among {all:#?}", then.drive));
    assert_eq!(facts(found), facts(then));
}

/// The finding without the sentences about mistakes: they name the file of a config value, which differs in a
/// bundle.
fn facts(finding: &json::Finding) -> Value {
    let mut value = serde_json::to_value(finding).unwrap();
    for named in value["suspects"]["named"].as_array_mut().into_iter().flatten() {
        named.as_object_mut().unwrap().remove("says");
    }
    value
}

fn named(finding: &json::Finding) -> Vec<&str> {
    finding.suspects.iter().flat_map(|all| &all.named).map(|named| named.mistake.as_str()).collect()
}

#[rstest]
#[case::theta(theta, "model.layers.0.self_attn.q_rope", "01B", "rope-theta")]
#[case::eps(|config: &mut Config| config.rms_norm_eps = 1e-6, "model.layers.0.input_layernorm", "01", "norm-eps")]
fn a_bundle_reproduces_a_wrong_operation_without_the_model_and_the_recording(
    #[case] altered: fn(&mut Config),
    #[case] site: &str,
    #[case] id: &str,
    #[case] mistake: &str,
    #[values(true, false)] with_case: bool,
    #[values(write, write_npz)] form: fn(&Path, &Arrays) -> PathBuf,
) {
    let prompt = if with_case { ids("short") } else { OTHER_PROMPT.to_vec() };
    let (bytes, printed) = bundle(|folder| form(folder, &pass(&prompt, altered)), &[]);
    let references = if with_case { " --references DIR" } else { "" };
    let command = format!("rbees-check run {id} --model DIR{references} --dump DIR/dump.npz");
    assert_eq!(printed, format!("bundle: b.zip of {site} · {command}\n"));
    assert_eq!(unzipped(&bytes).contains_key("short/manifest.json"), with_case);
    let (now, then) = rerun(&bytes);
    same(&now, &then);
    assert_eq!(named(&then), [mistake]);
}

/// A recording of tiny-llama with a mistake planted in it.
fn planted(mistake: &str) -> Arrays {
    let model = models::open("tiny-llama").unwrap();
    let llama = Llama::load(&model.weights, &Device::Cpu, DType::F32, Attention::Plain).unwrap();
    let made = (plants::find(mistake).unwrap().make)(&Correct { model: &model, llama: &llama }).unwrap();
    let (mut port, case) = (made.port, models::fixture("tiny-llama").unwrap().case("short").unwrap());
    pass_over(&mut *port, &input_of(&case), &case)
}

#[rstest]
#[case("norm-plus-one", "01")]
#[case("rope-pairing", "01B")]
#[case("head-map", "03")]
#[case("attention-scale", "03")]
#[case("mask-inverted", "03")]
#[case("gate-up-swapped", "05")]
#[case("act-half", "05")]
#[case("lm-head-random", "07")]
fn a_bundle_reproduces_a_planted_mistake(#[case] mistake: &str, #[case] id: &str) {
    let (bytes, printed) = bundle(|folder| write(folder, &planted(mistake)), &[]);
    assert!(printed.contains(&format!(" · rbees-check run {id} ")), "{printed}");
    let (now, then) = rerun(&bytes);
    same(&now, &then);
    assert_eq!(named(&then), [mistake]);
}

/// The last rows of a prefill as a pass after `start` cached tokens, with their keys and values.
fn step(prefill: &Arrays, start: usize) -> Arrays {
    let mut step = Arrays::new();
    for (name, tensor) in prefill {
        let axis = if tensor.rank() == 4 { 2 } else { 1 };
        let rest = tensor.dims()[axis] - start;
        step.insert(name.clone(), tensor.narrow(axis, start, rest).unwrap().contiguous().unwrap());
    }
    let end = prefill["input_ids"].dims()[1] as i64;
    let positions = Tensor::arange(start as i64, end, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    step.insert("position_ids".into(), positions);
    for layer in 0..4 {
        let here = |name: &str| format!("model.layers.{layer}.self_attn.{name}");
        let keys = prefill[&here("k_rope")].narrow(2, 0, start).unwrap().contiguous().unwrap();
        let values = prefill[&here("v_proj")].narrow(1, 0, start).unwrap().contiguous().unwrap();
        step.insert(here("past_key"), keys);
        step.insert(here("past_value"), values);
    }
    step
}

#[test]
fn a_bundle_of_a_step_contains_the_cache_of_its_layer() {
    let (bytes, printed) = bundle(|folder| write(folder, &step(&planted("head-map"), 8)), &[]);
    assert!(printed.contains("bundle: b.zip of model.layers.0.self_attn.scores"), "{printed}");
    let cached: Vec<String> =
        unzipped(&unzipped(&bytes)["dump.npz"]).into_keys().filter(|name| name.contains("past_")).collect();
    assert_eq!(cached, ["model.layers.0.self_attn.past_key.npy", "model.layers.0.self_attn.past_value.npy"]);
    let (now, then) = rerun(&bytes);
    same(&now, &then);
    assert_eq!(named(&then), ["head-map"]);
}

/// If few sites were recorded, the bundle contains all weights between them.
#[test]
fn a_bundle_of_several_operations_is_recomputed_from_the_same_inputs() {
    let all = pass(&OTHER_PROMPT, theta);
    let few = |names: &[&str]| -> Arrays {
        names.iter().map(|&name| (name.to_owned(), all[name].clone())).collect()
    };
    let few = few(&["input_ids", "model.layers.0", "model.layers.1", "lm_head"]);
    let (bytes, printed) = bundle(|folder| write(folder, &few), &[]);
    assert!(printed.starts_with("bundle: b.zip of model.layers.0 · rbees-check run 06 "), "{printed}");
    let files = unzipped(&bytes);
    let arrays: Vec<String> =
        unzipped(&files["dump.npz"]).into_keys().filter(|n| n.contains("model")).collect();
    assert_eq!(arrays, ["model.layers.0.npy"]);
    let weights = safetensors::SafeTensors::deserialize(&files["model.safetensors"]).unwrap();
    assert_eq!(weights.names().len(), 10, "the embedding and layer 0");
    let readme = String::from_utf8(files["README.txt"].clone()).unwrap();
    assert!(
        readme.starts_with("18 operations of a recording, from model.embed_tokens to model.layers.0."),
        "{readme}"
    );
    let (now, then) = rerun(&bytes);
    same(&now, &then);
}

#[test]
fn a_bundle_stores_the_dtype_of_the_run() {
    let (bytes, _) = bundle(|folder| write(folder, &pass(&OTHER_PROMPT, theta)), &["--dtype", "bf16"]);
    let (now, then) = rerun(&bytes);
    assert_eq!(now.run.dtype, "bf16");
    same(&now, &then);
}

/// Many float16 masks use -65504, the lowest float16 number. In a float32 recording it would not count as
/// masked.
#[test]
fn scores_masked_in_half_precision_stay_masked() {
    let mut arrays = planted("attention-scale");
    for (name, tensor) in arrays.iter_mut().filter(|(_, tensor)| tensor.dtype() == DType::F32) {
        let finite =
            if name.ends_with("scores") { tensor.maximum(-65504.0).unwrap() } else { tensor.clone() };
        *tensor = finite.to_dtype(DType::F16).unwrap();
    }
    let (bytes, printed) = bundle(|folder| write(folder, &arrays), &["3"]);
    assert!(printed.contains(" saved as f16: "), "{printed}");
    assert!(printed.contains("\nbundle: b.zip of model.layers.0.self_attn.scores "), "{printed}");
    let (now, then) = rerun(&bytes);
    same(&now, &then);
}

#[test]
fn a_padded_batch_keeps_its_mask_and_positions() {
    let model = models::open("tiny-llama").unwrap();
    let mut wrong = model.weights.clone();
    wrong.set_config(Config { rope_theta: 1e4, ..wrong.config().clone() });
    let llama = Llama::load(&wrong, &Device::Cpu, DType::F32, Attention::Plain).unwrap();
    let case = models::fixture("tiny-llama").unwrap().case("batch-left").unwrap();
    let arrays = pass_over(&mut LlamaPort::new(llama), &input_of(&case), &case);
    let (bytes, _) = bundle(|folder| write(folder, &arrays), &[]);
    assert!(unzipped(&bytes).contains_key("batch-left/manifest.json"));
    let (now, then) = rerun(&bytes);
    same(&now, &then);
}

/// GGUF files order the rows of q and k in interleaved pairs. A bundle stores them in the reference's order.
#[test]
fn interleaved_rows_are_stored_in_the_order_of_the_reference() {
    let mut arrays = pass(&OTHER_PROMPT, theta);
    let turned = |name: &str| ["q_proj", "k_proj", "q_rope", "k_rope"].iter().any(|end| name.ends_with(end));
    for (_, tensor) in arrays.iter_mut().filter(|(name, _)| turned(name)) {
        let (axis, head_dim) = (tensor.rank() - 1, 32);
        let from = |column: usize| {
            let (head, within) = (column / head_dim, column % head_dim);
            (head * head_dim + within % 2 * head_dim / 2 + within / 2) as u32
        };
        let order: Vec<u32> = (0..tensor.dims()[axis]).map(from).collect();
        *tensor = tensor.index_select(&Tensor::new(order, &Device::Cpu).unwrap(), axis).unwrap();
    }
    let interleaved = |folder: &Path| {
        let dump = write_folder(folder, &arrays);
        fs::write(dump.join("metadata.json"), r#"{"layout": "interleaved"}"#).unwrap();
        dump
    };
    let (bytes, _) = bundle(interleaved, &[]);
    let metadata = &unzipped(&unzipped(&bytes)["dump.npz"])["metadata.json"];
    let metadata: Value = serde_json::from_slice(metadata).unwrap();
    assert_eq!(
        metadata,
        serde_json::json!({"format": "rbees-dump 1", "dtype": "f32", "arithmetic": "dense", "layout": "half-split"})
    );
    let (now, then) = rerun(&bytes);
    same(&now, &then);
    assert_eq!(named(&then), ["rope-theta"]);
}

/// Without weights, a site can only be compared with the reference.
#[test]
fn a_bundle_reproduces_a_difference_from_the_reference_without_a_replay() {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("config.json"), r#"{"model_type": "other"}"#).unwrap();
    let mut arrays = pass(&ids("short"), theta);
    arrays.retain(|name, _| ["input_ids", "model.norm"].contains(&name.as_str()));
    let more = ["--model", folder.path().to_str().unwrap(), "--references", "tiny-llama"];
    let (bytes, printed) = bundle(|folder| write(folder, &arrays), &more);
    let command = "rbees-check run 07 --model DIR --references DIR --dump DIR/dump.npz";
    assert_eq!(printed, format!("bundle: b.zip of model.norm · {command}\n"));
    let (now, then) = rerun(&bytes);
    same(&now, &then);
}

/// A float32 recording is wrong in every matrix product on quantised blocks. A lookup and a rotation are not
/// matrix products.
#[rstest]
#[case::a_lookup("all", Some("model.embed_tokens · rbees-check run 00B --model DIR --dump DIR/dump.npz"))]
#[case::a_rotation(
    "1B",
    Some("model.layers.0.self_attn.q_rope · rbees-check run 01B --model DIR --dump DIR/dump.npz")
)]
#[case::products("2", None)]
fn matrix_products_on_quantised_blocks_are_not_bundled(#[case] id: &str, #[case] bundled: Option<&str>) {
    let folder = tempdir().unwrap();
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny-llama/gguf/tiny-llama-q4_0.gguf");
    let dump = write(folder.path(), &pass(&ids("short"), theta));
    let output = judged(folder.path(), &dump, &[id, "--model", model, "--matmul", "quantized"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let why = "it is a matrix product on quantised blocks, and a bundle stores weights as floats";
    let printed = match bundled {
        Some(what) => format!("bundle: b.zip of {what}\n"),
        None => format!(
            "note: model.layers.0.self_attn.q_proj, the first site that differs, cannot be bundled: {why}\n\
             note: b.zip was not written: no other recorded site differs\n"
        ),
    };
    assert_eq!(stderr(&output), printed);
    if bundled.is_some() {
        let (now, then) = rerun(&fs::read(folder.path().join("b.zip")).unwrap());
        same(&now, &then);
    }
}

#[test]
fn bundling_a_bundle_again_gives_the_same_files() {
    let (bytes, _) = bundle(|folder| write(folder, &pass(&ids("short"), theta)), &[]);
    let unpacked: TempDir = home();
    for (name, content) in unzipped(&bytes) {
        let path = unpacked.path().join("DIR").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let more = ["1B", "--model", "DIR", "--references", "DIR"];
    let output = judged(unpacked.path(), Path::new("DIR/dump.npz"), &more);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let twice = unzipped(&fs::read(unpacked.path().join("b.zip")).unwrap());
    for name in ["dump.npz", "finding.json", "model.safetensors", "config.json", "short/reference.npz"] {
        assert!(twice[name] == unzipped(&bytes)[name], "{name}");
    }
}

#[test]
fn no_bundle_is_written_when_no_recorded_site_differs() {
    let folder = tempdir().unwrap();
    let output = judged(folder.path(), &write(folder.path(), &short()), &[]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stderr(&output), "note: b.zip was not written: no recorded site differs\n");
    assert!(!folder.path().join("b.zip").exists());
}

#[rstest]
#[case::two_recordings(&["--bundle", "b.zip", "--against", "dump.safetensors"], "--bundle cannot be used with --against")]
#[case::over_the_recording(&["--bundle", "./dump.safetensors"], "--bundle ./dump.safetensors: --dump names the same file")]
#[case::over_a_report(&["--bundle", "r", "--report", "json=./r"], "--bundle r: --report names the same file")]
#[case::no_such_folder(&["--bundle", "no/such/b.zip"], "--bundle no/such/b.zip: ")]
fn a_bundle_that_cannot_be_written_is_refused_before_anything_runs(#[case] args: &[&str], #[case] why: &str) {
    let folder = tempdir().unwrap();
    let file = write(folder.path(), &short());
    let before = fs::read(&file).unwrap();
    let args = [&["run", "--dump", "dump.safetensors"], args].concat();
    let output = rbees_in(folder.path(), &home(), &args).output().unwrap();
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(2), ""));
    let printed = stderr(&output);
    let lines: Vec<&str> = printed.lines().collect();
    assert!(
        matches!(&lines[..], [error, hint] if error.starts_with(&format!("error: {why}")) && hint.starts_with("hint: ")),
        "{printed}"
    );
    assert!(fs::read(&file).unwrap() == before && fs::read_dir(folder.path()).unwrap().count() == 1);
}
