//! Inputs that must never pass silently: references that are missing, empty, altered or not judged by any
//! checkpoint, weights that differ from the reference's, and budgets too wide to fail.

mod fixture;
mod untapped;

use std::fs;
use std::path::Path;

use candle_core::{DType, Device};
use fixture::Copy;
use rbees_check::checkpoints;
use rbees_check::judge::{self, LlamaPort, Outcome, Status, Subject, Verdict};
use rbees_check::model::{Attention, Llama};
use rbees_check::models::{self, Model};
use rbees_check::reference::{Reference, Source};
use rbees_check::{Result, weights::Weights};
use rstest::rstest;
use serde_json::json;
use untapped::Untapped;

/// Runs checkpoint `id` of tiny-llama on the case in `folder`.
fn run(folder: &Copy, id: &str) -> Result<Outcome> {
    let model = models::open("tiny-llama")?;
    let case = Reference::read(&Source::Folder(folder.path()), "")?;
    let mut subject = Subject::of_cases(&model, vec![case], &Device::Cpu, DType::F32, &[Attention::Plain])?;
    judge::run(&mut subject, checkpoints::find(id).unwrap())
}

fn refused(folder: &Copy, id: &str) -> String {
    run(folder, id).expect_err("a refusal").to_string()
}

#[test]
fn an_unmodified_copy_of_a_case_passes() {
    assert_eq!(run(&Copy::of("tiny-llama", "single"), "03").unwrap().status(), Status::Passed);
}

#[test]
fn a_missing_reference_file_is_refused_by_name() {
    let copy = Copy::of("tiny-llama", "single");
    copy.remove("reference.npz");
    assert!(refused(&copy, "03").ends_with("reference.npz: missing"));
}

#[test]
fn a_missing_reference_array_is_refused_by_name() {
    let copy = Copy::of("tiny-llama", "single");
    copy.arrays("reference.npz", |arrays| drop(arrays.remove("model.layers.2.mlp.act")));
    assert!(refused(&copy, "05").ends_with("model.layers.2.mlp.act is missing"));
}

#[test]
fn an_array_that_the_manifest_does_not_list_is_refused() {
    let copy = Copy::of("tiny-llama", "single");
    copy.manifest(|manifest| {
        drop(manifest["sites"].as_object_mut().unwrap().remove("model.layers.2.mlp.act"))
    });
    assert!(refused(&copy, "05").ends_with("model.layers.2.mlp.act is not in the manifest"));
}

#[test]
fn an_altered_reference_array_is_refused_by_its_hash() {
    let copy = Copy::of("tiny-llama", "single");
    copy.arrays("reference.npz", |arrays| {
        let bytes = arrays.get_mut("model.norm").unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
    });
    assert!(refused(&copy, "01").contains("model.norm does not match the manifest"));
}

/// A budget is a multiple of the noise, so enlarged noise would let a wrong model pass.
#[test]
fn an_altered_noise_array_is_refused_by_its_hash() {
    let copy = Copy::of("tiny-llama", "single");
    copy.noisier(5000.0, &["site", "block", "own"]);
    assert!(refused(&copy, "03").contains("does not match the manifest (SHA-256)"));
}

#[test]
fn implausibly_large_noise_is_refused_even_with_a_correct_hash() {
    let copy = Copy::of("tiny-llama", "single");
    copy.noisier(5000.0, &["site"]);
    copy.rehash_noise();
    let error = refused(&copy, "03");
    assert!(error.contains("on reference inputs, but rounding errors are at most"), "{error}");
}

#[test]
fn noise_that_the_manifest_does_not_list_is_refused() {
    let copy = Copy::of("tiny-llama", "single");
    copy.manifest(|manifest| {
        drop(manifest["noise"]["dense"].as_object_mut().unwrap().remove("model.norm"));
    });
    assert!(refused(&copy, "01").ends_with("there is no noise for model.norm with dense arithmetic"));
}

/// Rotated rows have one noise value per place. If the number of places differs, the values cannot be
/// assigned.
#[test]
fn noise_with_the_wrong_number_of_places_is_refused() {
    let copy = Copy::of("tiny-llama", "single");
    copy.manifest(|manifest| {
        manifest["noise"]["dense"]["model.layers.0.self_attn.q_rope"]["shape"] = json!([3, 3, 2, 7]);
    });
    let error = refused(&copy, "1B");
    let place =
        "manifest.json: the noise of model.layers.0.self_attn.q_rope has the wrong shape [3, 3, 2, 7]";
    assert!(error.ends_with(place), "{error}");
}

#[rstest]
fn a_damaged_archive_member_is_refused_by_its_checksum(
    #[values("reference.npz", "noise.npz")] archive: &str,
) {
    let copy = Copy::of("tiny-llama", "single");
    // Members are stored uncompressed, so only the checksum and the hash can detect a changed byte.
    copy.stored(archive);
    let path = copy.path().join(archive);
    let mut bytes = fs::read(&path).unwrap();
    let numpy = bytes.windows(6).position(|six| six == b"\x93NUMPY").unwrap();
    bytes[numpy + 130] ^= 1; // after the header
    fs::write(path, bytes).unwrap();
    let error = refused(&copy, "03");
    assert!(error.contains("hecksum"), "{error}");
}

#[test]
fn an_archive_member_without_the_npy_extension_is_refused() {
    let copy = Copy::of("tiny-llama", "single");
    copy.members("reference.npz", |members| {
        let bytes = members.remove("model.norm.npy").unwrap();
        members.insert("model.norm".into(), bytes);
    });
    assert!(refused(&copy, "01").ends_with("model.norm is not an array: its name does not end in .npy"));
}

/// Of two entries with the same name, readers differ in which one they take.
#[rstest]
#[case("model", "\"tiny-llama\"")]
#[case("lengths", "[1]")]
#[case("rows", "{}")]
fn a_manifest_with_a_duplicate_key_is_refused(#[case] key: &str, #[case] value: &str) {
    let copy = Copy::of("tiny-llama", "single");
    let path = copy.path().join("manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(path, text.replacen('{', &format!("{{\"{key}\": {value},"), 1)).unwrap();
    let error = refused(&copy, "03");
    assert!(error.contains(&format!("duplicate key \"{key}\"")), "{error}");
}

#[test]
fn a_case_of_the_old_format_without_noise_hashes_is_refused() {
    let copy = Copy::of("tiny-llama", "single");
    copy.manifest(|manifest| manifest["format"] = json!(1));
    assert!(refused(&copy, "03").ends_with("it has format version 1, but this program reads version 2"));
}

#[test]
fn a_case_without_sites_is_refused() {
    let copy = Copy::of("tiny-llama", "single");
    copy.manifest(|manifest| manifest["sites"] = json!({}));
    assert!(refused(&copy, "03").contains("it has no sites, so it cannot check anything"));
}

#[test]
fn a_case_without_rows_is_refused() {
    let copy = Copy::of("tiny-llama", "single");
    copy.manifest(|manifest| manifest["rows"]["all"] = json!([]));
    assert!(refused(&copy, "03").contains("rows `all` are empty"));
}

#[test]
fn a_reference_for_a_layer_that_does_not_exist_is_refused() {
    let copy = Copy::of("tiny-llama", "single");
    let (old, new) = ("model.layers.3.mlp.act", "model.layers.9.mlp.act");
    for archive in ["reference.npz", "noise.npz"] {
        copy.arrays(archive, |arrays| {
            let moved = arrays.remove(old).unwrap();
            arrays.insert(new.into(), moved);
        });
    }
    copy.manifest(|manifest| {
        for entries in ["/sites", "/noise/dense"] {
            let entries = manifest.pointer_mut(entries).unwrap().as_object_mut().unwrap();
            let moved = entries.remove(old).unwrap();
            entries.insert(new.into(), moved);
        }
    });
    assert!(refused(&copy, "05").ends_with("no checkpoint judges model.layers.9.mlp.act"));
}

#[test]
fn a_reference_that_no_checkpoint_can_judge_without_its_inputs_is_refused() {
    let copy = Copy::of("tiny-llama", "single");
    let lone = "model.layers.1.self_attn.o_proj";
    let keep = |name: &str| name == lone || !name.starts_with("model.layers.1");
    copy.arrays("reference.npz", |arrays| arrays.retain(|name, _| keep(name)));
    copy.manifest(|manifest| manifest["sites"].as_object_mut().unwrap().retain(|name, _| keep(name)));
    assert!(refused(&copy, "03").ends_with(&format!("no checkpoint judges {lone}")));
}

#[test]
fn a_budget_wider_than_the_tensors_scale_fails() {
    let copy = Copy::of("tiny-llama", "single");
    copy.noisier(1e9, &["own"]);
    copy.rehash_noise();
    let outcome = run(&copy, "07").unwrap();
    assert_eq!(outcome.status(), Status::Failed);
    // Sites whose noise is 0 in PyTorch's runs keep a noise of 0, so they do not fail.
    assert!(outcome.failures().all(|f| matches!(f.verdict, Verdict::TooWide { .. })));
}

#[test]
fn a_changed_weight_fails_checkpoint_00_and_names_the_tensor() {
    let folder = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-llama");
    for file in ["config.json", "generation_config.json", "model.safetensors"] {
        fs::copy(source.join(file), folder.path().join(file)).unwrap();
    }
    let path = folder.path().join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 2; // the lowest bits of the last number
    bytes[last] ^= 1;
    fs::write(path, bytes).unwrap();

    let built_in = models::open("tiny-llama").unwrap();
    let model = Model { weights: Weights::open(folder.path()).unwrap(), ..built_in };
    let mut subject = Subject::new(&model, &[], &Device::Cpu, DType::F32, &[] as &[Attention]).unwrap();
    let outcome = judge::run(&mut subject, checkpoints::find("00").unwrap()).unwrap();
    let wrong: Vec<&str> = outcome.failures().map(|f| f.about.as_str()).collect();
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert!(wrong[0].ends_with(".weight"));
}

/// The port taps no site, so every site of the reference is missing.
#[rstest]
fn a_port_that_taps_no_sites_fails_every_checkpoint_of_sites(
    #[values("00B", "01", "01B", "02", "03", "04", "05", "06", "07")] id: &str,
) {
    let model = models::open("tiny-llama2").unwrap();
    let mut subject =
        Subject::new(&model, &["short".into()], &Device::Cpu, DType::F32, &[] as &[Attention]).unwrap();
    let llama = Llama::load(&model.weights, &Device::Cpu, DType::F32, Attention::Plain).unwrap();
    subject.ports = vec![Box::new(Untapped(LlamaPort::new(llama)))];
    let outcome = judge::run(&mut subject, checkpoints::find(id).unwrap()).unwrap();
    assert_eq!(outcome.status(), Status::Failed);
}

#[test]
fn a_checkpoint_without_findings_is_inconclusive() {
    let checkpoint = checkpoints::find("03").unwrap();
    let outcome = Outcome { checkpoint, findings: vec![], skipped: None, notes: vec![] };
    assert_eq!(outcome.status(), Status::NotJudged);
}
