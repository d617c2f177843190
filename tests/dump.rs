//! `run --dump`: judges a port's recording, and reports what is wrong with it.

mod program;
mod recorded;

use std::fs;
use std::path::Path;
use std::process::Output;

use candle_core::{DType, Device, IndexOp, Tensor};
use program::{home, rbees_in, reported, stderr, stdout};
use rbees_check::checkpoints;
use rbees_check::dump::{Against, Judged};
use rbees_check::judge::Verdict;
use rbees_check::probe::{Kind, Site};
use rbees_check::recording::{Recording, Vocabulary};
use recorded::{Arrays, ids, pass, short, write, write_folder, write_npz};
use rstest::rstest;
use tempfile::tempdir;

/// Runs `run --dump FILE` with more arguments.
fn judged(dump: &Path, more: &[&str]) -> Output {
    let args = [&["run", "--dump", dump.to_str().unwrap()], more].concat();
    rbees_in(Path::new("/"), &home(), &args).output().unwrap()
}

/// Records `arrays` and judges them. Returns the whole output and the exit code.
fn printed(arrays: &Arrays, more: &[&str]) -> (String, i32) {
    let folder = tempdir().unwrap();
    text_and_code(judged(&write(folder.path(), arrays), more))
}

fn text_and_code(output: Output) -> (String, i32) {
    (stdout(&output) + &stderr(&output), output.status.code().unwrap())
}

/// The ids of the checkpoints that failed.
fn failed_ids(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("  FAIL  ")?.split_whitespace().next()).collect()
}

const ACT: &str = "model.layers.1.mlp.act";

#[rstest]
#[case::safetensors(write)]
#[case::npz(write_npz)]
#[case::directory(write_folder)]
fn a_correct_pass_passes_in_every_file_format(#[case] form: fn(&Path, &Arrays) -> std::path::PathBuf) {
    let folder = tempdir().unwrap();
    let (text, code) = text_and_code(judged(&form(folder.path(), &short()), &[]));
    assert_eq!((failed_ids(&text), code), (vec![], 0), "{text}");
    assert!(text.contains("reference: case short") && text.contains("coverage: 71 of 71 sites\n"), "{text}");
    assert!(text.ends_with("checkpoints: 8 passed, 0 failed, 4 skipped\n"), "{text}");
}

#[test]
fn a_prompt_without_a_reference_case_is_judged_by_replay_only_and_the_output_says_so() {
    let (text, code) = printed(&pass(&[5, 99, 7, 300, 12, 8], |_| {}), &["--require-all"]);
    assert_eq!((failed_ids(&text), code), (vec![], 0), "{text}");
    assert!(
        text.contains("reference: none stored for these token ids (") && text.contains("position 0"),
        "{text}"
    );
    assert!(text.contains("coverage: 71 of 71 sites\n"), "{text}");
}

#[rstest]
#[case::theta(|config: &mut rbees_check::weights::Config| config.rope_theta = 1e4, "01B", "model.layers.0.self_attn.q_rope", "rope-theta")]
#[case::eps(|config: &mut rbees_check::weights::Config| config.rms_norm_eps = 1e-6, "01", "model.layers.0.input_layernorm", "norm-eps")]
fn one_mistake_is_blamed_on_one_operation_although_later_values_differ_too(
    #[case] altered: fn(&mut rbees_check::weights::Config),
    #[case] checkpoint: &str,
    #[case] site: &str,
    #[case] mistake: &str,
    #[values(true, false)] with_truth: bool,
) {
    let prompt = if with_truth { ids("short") } else { vec![5, 99, 7, 300, 12, 8] };
    let (text, code) = printed(&pass(&prompt, altered), &[]);
    let want = if with_truth { vec![checkpoint, "07"] } else { vec![checkpoint] };
    assert_eq!((failed_ids(&text), code), (want, 1), "{text}");
    assert!(text.contains(&format!("   suspect    {mistake}: ")), "{text}");
    assert!(text.contains(&format!("first wrong operation, given its recorded inputs: {site}\n")), "{text}");
    assert_eq!(
        text.contains(&format!("first site that differs from the reference: {site}\n")),
        with_truth,
        "{text}"
    );
}

/// In bf16 the angles are too coarse to solve for θ.
#[test]
fn a_usual_theta_is_named_when_theta_cannot_be_solved_for() {
    let dump = pass(&[5, 99, 7, 300, 12, 8], |config| config.rope_theta = 1e4);
    let (text, code) = printed(&dump, &["--dtype", "bf16"]);
    assert_eq!((failed_ids(&text), code), (vec!["01B"], 1), "{text}");
    assert!(
        text.contains("   suspect    rope-theta: you used θ = 10000 or near it; the config says"),
        "{text}"
    );
}

#[test]
fn a_mistake_recorded_from_pytorch_is_named() {
    let dump =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/dumps/tiny-llama-rope-pairing.safetensors");
    let (text, code) = text_and_code(judged(&dump, &[]));
    assert_eq!((failed_ids(&text), code), (vec!["01B", "07"], 1), "{text}");
    assert!(text.contains("   suspect    rope-pairing: you rotate neighbouring elements"), "{text}");
    let site = "model.layers.0.self_attn.q_rope\n";
    assert!(
        text.contains(&format!(
            "first site that differs from the reference: {site}first wrong operation, given its recorded inputs: {site}"
        )),
        "{text}"
    );
    assert!(text.contains("coverage: 18 of 71 sites"), "{text}");
}

fn with(name: &str, alter: impl Fn(&Tensor) -> Tensor) -> Arrays {
    let mut arrays = short();
    let tensor = alter(&arrays[name]).contiguous().unwrap();
    arrays.insert(name.into(), tensor);
    arrays
}

/// The tensor with its entry [0, 3, 5] replaced by `value`.
fn poked(tensor: &Tensor, value: f32) -> Tensor {
    let mut values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
    values[3 * tensor.dims()[2] + 5] = value;
    Tensor::from_vec(values, tensor.shape(), &Device::Cpu).unwrap()
}

fn without(name: &str) -> Arrays {
    let mut arrays = short();
    arrays.remove(name).unwrap();
    arrays
}

fn misspelt() -> Arrays {
    let mut arrays = short();
    let tensor = arrays.remove(ACT).unwrap();
    arrays.insert("model.layers.1.mpl.act".into(), tensor);
    arrays
}

#[rstest]
#[case::missing_and_required(without(ACT), &["--require-all"], 1, "FAIL 05 ffn · model.layers.1.mlp.act (recorded)\n   reached    never: the port did not pass this site to the probe")]
#[case::missing_and_allowed(without(ACT), &[], 0, "coverage: 70 of 71 sites; not recorded, so not checked separately: model.layers.1.mlp.act\n")]
#[case::transposed(with(ACT, |t| t.t().unwrap()), &[], 0, "model.layers.1.mlp.act has the axes `b w s`, as its shape shows")]
#[case::heads_last(with("model.layers.1.self_attn.q_rope", |t| t.transpose(1, 2).unwrap()), &[], 0, "model.layers.1.self_attn.q_rope has the axes `b s h d`, as its shape shows")]
#[case::truncated(with(ACT, |t| t.i((.., ..10)).unwrap()), &[], 0, "model.layers.1.mlp.act has the first positions only, as its shape shows")]
#[case::wrong_width(with(ACT, |t| t.i((.., .., ..200)).unwrap()), &[], 2, "`model.layers.1.mlp.act` cannot be read as model.layers.1.mlp.act: its shape is [1, 13, 200], but model.layers.1.mlp.act has [1, 13, 256]")]
#[case::nan(with(ACT, |t| poked(t, f32::NAN)), &[], 1, "not finite 1 elements are NaN")]
#[case::half_precision(with(ACT, |t| t.to_dtype(DType::F16).unwrap()), &[], 1, "precision  got a f16 tensor in a f32 run")]
#[case::misspelt_site_name(misspelt(), &[], 0, "`model.layers.1.mpl.act` is left out, because its name is unknown; did you mean `model.layers.1.mlp.act`?")]
#[case::misspelt_and_strict(misspelt(), &["--strict"], 2, "did you mean `model.layers.1.mlp.act`?, and --strict was given\nhint: state it: \"model.layers.1.mpl.act\" = \"\" under [names] in a --map file")]
#[case::wrong_prompt(pass(&[5, 99, 7, 300], |_| {}), &["--case", "short"], 2, "its prompt is not that of case short: position 0 of row 0 is token 5, but ")]
#[case::wrong_model(short(), &["--model", "tiny-llama2"], 2, "it has a layer 3, but the model's last layer is 2")]
fn each_defect_of_a_recording_gets_its_own_message(
    #[case] arrays: Arrays,
    #[case] more: &[&str],
    #[case] code: i32,
    #[case] line: &str,
) {
    let (text, got) = printed(&arrays, more);
    assert!(text.contains(line), "{text}");
    assert_eq!(got, code, "{text}");
}

#[rstest]
#[case::permuted_columns(|t: &Tensor| { let order: Vec<u32> = (0..256).map(|j| j ^ 1).collect(); t.index_select(&Tensor::new(order, &Device::Cpu).unwrap(), 2).unwrap() })]
#[case::reversed_positions(|t: &Tensor| { let order: Vec<u32> = (0..13).rev().collect(); t.index_select(&Tensor::new(order, &Device::Cpu).unwrap(), 1).unwrap() })]
fn correct_values_in_the_wrong_order_fail(#[case] permute: fn(&Tensor) -> Tensor) {
    let (text, code) = printed(&with(ACT, permute), &[]);
    assert_eq!((failed_ids(&text), code), (vec!["05", "07"], 1), "{text}");
    assert!(
        text.contains("first wrong operation, given its recorded inputs: model.layers.1.mlp.act\n"),
        "{text}"
    );
}

/// A scaled row is not close to any correct row, so it must not be named as a correct row in the wrong place.
#[rstest]
fn a_product_that_is_scaled_is_identified(
    #[values("self_attn.q_proj", "self_attn.v_proj", "mlp.gate_proj")] product: &str,
) {
    let site = format!("model.layers.1.{product}");
    let (text, code) = printed(&with(&site, |t| (t * 1.01).unwrap()), &[]);
    assert_eq!(code, 1, "{text}");
    let (_, about) = text.split_once(&format!("{site} (replay)\n")).unwrap();
    let about = about.split_once("\n\n").unwrap().0;
    assert!(about.contains("suspect    output-scaled: you multiply "), "{text}");
    assert!(about.contains(" by 1.010000 ± ") && about.matches("suspect ").count() == 1, "{text}");
}

#[test]
fn a_recording_without_anything_to_check_it_against_is_inconclusive() {
    // An unsupported model and a prompt without a case: replaying a product would need the weights.
    let folder = tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), r#"{"model_type": "other"}"#).unwrap();
    let other = pass(&[5, 99, 7, 300], |_| {});
    let only = |names: &[&str]| -> Arrays {
        names.iter().map(|&name| (name.to_owned(), other[name].clone())).collect()
    };
    let more = ["--model", folder.path().to_str().unwrap(), "--references", "tiny-llama"];
    let (text, code) = printed(&only(&["input_ids", "model.norm"]), &more);
    assert_eq!((code, failed_ids(&text)), (2, vec![]), "{text}");
    assert!(text.contains("recorded but not checked: model.norm\n"), "{text}");
    // Operations without weights are replayed.
    let names = ["input_ids", ACT, "model.layers.1.mlp.gate_proj", "model.layers.1.mlp.up_proj"];
    let (text, code) = printed(&only(&names), &more);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("  PASS  05  ffn          1 site "), "{text}");
    assert!(text.contains("replay: only operations that need no weights: "), "{text}");
}

#[test]
fn an_unsupported_model_is_still_compared_with_its_reference() {
    let folder = tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), r#"{"model_type": "other"}"#).unwrap();
    let more = ["--model", folder.path().to_str().unwrap(), "--references", "tiny-llama"];
    let (text, code) = printed(&pass(&ids("short"), |config| config.rope_theta = 1e4), &more);
    assert_eq!((failed_ids(&text), code), (vec!["01B", "07"], 1), "{text}");
    assert!(!text.contains("suspect"), "{text}");
}

#[test]
fn a_sparse_recording_is_replayed_through_the_operations_between_its_sites() {
    let all = pass(&ids("short"), |config| config.rope_theta = 1e4);
    let few = |names: &[&str]| -> Arrays {
        names.iter().map(|&name| (name.to_owned(), all[name].clone())).collect()
    };
    let (text, code) = printed(&few(&["input_ids", "model.layers.0", "model.layers.1", "lm_head"]), &[]);
    assert_eq!((failed_ids(&text), code), (vec!["06", "07"], 1), "{text}");
    let among = "or an earlier one of the 18 operations from model.embed_tokens to model.layers.0: record";
    assert!(
        text.contains(&format!("first wrong operation, given its recorded inputs: model.layers.0, {among}")),
        "{text}"
    );
}

#[test]
fn against_compares_two_recordings_of_the_same_prompt() {
    let (folder, other) = (tempdir().unwrap(), tempdir().unwrap());
    let prompt = [5, 99, 7, 300, 12, 8];
    let correct = write(folder.path(), &pass(&prompt, |_| {}));
    let wrong = write(other.path(), &pass(&prompt, |config| config.rope_theta = 1e4));
    let (text, code) = text_and_code(judged(&correct, &["--against", correct.to_str().unwrap()]));
    assert_eq!((failed_ids(&text), code), (vec![], 0), "{text}");
    assert!(text.contains("the two recordings differ no more than two correct runs may\n"), "{text}");
    let (text, code) = text_and_code(judged(&correct, &["--against", wrong.to_str().unwrap()]));
    assert_eq!((failed_ids(&text), code), (vec!["01B", "07"], 1), "{text}");
    let site = "model.layers.0.self_attn.q_rope";
    assert!(text.contains(&format!("first site where the two recordings differ: {site}\n")), "{text}");
    let first_wrong =
        format!("first wrong operation of {}, given its recorded inputs: {site}\n", wrong.display());
    assert!(text.contains(&first_wrong), "{text}");
    assert!(!text.contains(&format!("first wrong operation of {},", correct.display())), "{text}");
}

#[test]
fn against_refuses_recordings_of_different_prompts() {
    let (folder, other) = (tempdir().unwrap(), tempdir().unwrap());
    let one = write(folder.path(), &pass(&[5, 99, 7], |_| {}));
    let two = write(other.path(), &pass(&[5, 98, 7], |_| {}));
    let (text, code) = text_and_code(judged(&one, &["--against", two.to_str().unwrap()]));
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("they differ at position 1 of row 0"), "{text}");
}

#[test]
fn a_judged_dump_writes_json_and_junit_reports() {
    let folder = tempdir().unwrap();
    let dump = write(folder.path(), &pass(&ids("short"), |config| config.rope_theta = 1e4));
    let (code, json, xml) = reported(folder.path(), &["--dump", dump.to_str().unwrap()]);
    assert_eq!((code, &json["exit_code"]), (1, &serde_json::json!(1)));
    let schema = include_str!("../docs/report.schema.json");
    let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
    assert!(jsonschema::is_valid(&schema, &json));
    assert!(json["summary"]["failed"] == 2 && xml.contains("q_rope"), "{}", json["summary"]);
}

#[rstest]
#[case::the_recording(&["--report", "json=./dump.safetensors"], "--dump")]
#[case::the_other_recording(&["--against", "b.safetensors", "--report", "junit=b.safetensors"], "--against")]
#[case::the_map(&["--map", "b.safetensors", "--report", "html=b.safetensors"], "--map")]
#[case::the_model(&["--model", "b.safetensors", "--report", "json=b.safetensors"], "--model")]
fn a_report_that_would_overwrite_an_input_is_refused(#[case] args: &[&str], #[case] flag: &str) {
    let folder = tempdir().unwrap();
    let file = write(folder.path(), &short());
    let before = fs::read(&file).unwrap();
    fs::copy(&file, folder.path().join("b.safetensors")).unwrap();
    let args = [&["run", "--dump", "dump.safetensors"], args].concat();
    let output = rbees_in(folder.path(), &home(), &args).output().unwrap();
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(2), ""));
    let (target, printed) = (args[args.len() - 1].split_once('=').unwrap().1, stderr(&output));
    let error = format!("error: --report {target}: {flag} names the same file");
    assert_eq!(printed, format!("{error}\nhint: give the report its own file\n"));
    for name in ["dump.safetensors", "b.safetensors"] {
        assert!(fs::read(folder.path().join(name)).unwrap() == before, "{name}");
    }
}

/// The judgement of these sites from the recording alone: without weights, config or reference.
fn alone(arrays: &Arrays, names: &[&str]) -> Judged {
    let folder = tempdir().unwrap();
    let kept =
        names.iter().chain(&["input_ids"]).map(|&name| (name.to_owned(), arrays[name].clone())).collect();
    let dump = Recording::open(&write(folder.path(), &kept), &Vocabulary::default()).unwrap();
    dump.judge(&Against::default(), &checkpoints::ALL, false).unwrap()
}

#[test]
fn operations_that_need_no_config_are_replayed_without_one() {
    let names = [
        "model.layers.1",
        "model.layers.2.self_attn.q_rope",
        "model.layers.2.self_attn.scores",
        "model.layers.2.self_attn.probs",
        "model.layers.2.self_attn.o_proj",
        "model.layers.2.post_attention_layernorm.input",
        "model.layers.2.mlp.gate_proj",
        "model.layers.2.mlp.up_proj",
        "model.layers.2.mlp.act",
        "model.layers.2.mlp.down_proj",
        "model.layers.2",
    ];
    let replayed = ["probs", "post_attention_layernorm.input", "mlp.act", ""];
    let judged = alone(&short(), &names);
    let mut sites: Vec<Site> = Vec::new();
    for finding in judged.outcomes.iter().flat_map(|outcome| &outcome.findings) {
        assert!(matches!(finding.verdict, Verdict::Pass(share) if share < 0.5), "{finding:?}");
        sites.extend(finding.site);
    }
    sites.sort();
    assert_eq!(sites.len(), replayed.len());
    assert!(sites.iter().zip(replayed).all(|(site, end)| site.to_string().ends_with(end)), "{sites:?}");
    assert_eq!(judged.unjudged.len(), names.len() - replayed.len());
    assert_eq!(judged.first_wrong, None);

    // A block output that is not the sum of its recorded inputs.
    let wrong = with("model.layers.2", |t| (t * 1.01).unwrap());
    let first_wrong = alone(&wrong, &names).first_wrong.unwrap();
    assert_eq!(first_wrong.among, [Site::layer(2, Kind::Block)]);
}
