//! References: manifests, arrays, and facts about the model.

use fixture::Copy;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;

fn judge(copy: &Copy) -> [String; 4] {
    ["run".into(), "03".into(), "--case".into(), copy.path().display().to_string()]
}

fn refused_case(copy: &Copy, why: &str) {
    let args = judge(copy);
    refused(&copy.path(), &args.iter().map(String::as_str).collect::<Vec<_>>(), why);
}

#[rstest]
#[case::format("/format", json!(99), "it has format version 99")]
#[case::format_is_text("/format", json!("2"), "manifest.json: ")]
#[case::no_ids("/ids", json!([]), "it has no tokens")]
#[case::ids_too_large("/ids", json!([[4_000_000_000u32, 0]]), "manifest.json")]
#[case::ids_of_a_text("/ids", json!([["\u{1b}[2J"]]), "\\u{1b}[2J")]
#[case::lengths("/lengths", json!([1_000_000]), "do not fit together")]
#[case::positions("/position_ids", json!([[5, 6]]), "do not fit together")]
#[case::positions_far("/position_ids", json!([[u64::MAX]]), "position_ids contains 18446744073709551615")]
#[case::no_rows("/rows/all", json!([]), "rows `all` are empty")]
#[case::rows_outside("/rows/all", json!([[0, 99]]), "out of range")]
#[case::rows_twice("/rows/all", json!([[0, 0], [0, 0]]), "out of order")]
#[case::no_sites("/sites", json!({}), "it has no sites")]
#[case::site_name("/sites", json!({"\u{1b}[2J": {"rows": "all", "shape": [1], "sha256": ""}}), "\\u{1b}[2J")]
#[case::long_site_name("/sites", json!({"n".repeat(200_000): {"rows": "all", "shape": [1], "sha256": ""}}), "nnn")]
#[case::hash("/sites/model.norm/sha256", json!("\u{1b}"), "model.norm does not match the manifest")]
#[case::shape("/sites/model.norm/shape", json!([1, 18_446_744_073_709_551_615u64]), "model.norm")]
#[case::noise_dtypes("/noise_dtypes", json!([]), "no dtypes")]
#[case::noise("/noise", json!({}), "arithmetics")]
fn a_manifest_without_a_meaning_is_refused(#[case] pointer: &str, #[case] value: Value, #[case] why: &str) {
    let copy = Copy::of("tiny-llama", "single");
    copy.manifest(|manifest| *manifest.pointer_mut(pointer).unwrap() = value);
    refused_case(&copy, why);
}

#[rstest]
#[case::empty("")]
#[case::deep(&"[".repeat(100_000))]
#[case::twice("{\"format\": 2, \"format\": 2}")]
fn a_manifest_that_is_not_json_is_refused(#[case] text: &str) {
    let copy = Copy::of("tiny-llama", "single");
    fs::write(copy.path().join("manifest.json"), text).unwrap();
    refused_case(&copy, "manifest.json: ");
}

#[rstest]
#[case::reference("reference.npz")]
#[case::noise("noise.npz")]
fn an_archive_of_references_that_is_a_bomb_is_refused(#[case] file: &str) {
    let copy = Copy::of("tiny-llama", "single");
    copy.arrays(file, |arrays| drop(arrays.insert("x".into(), archives::zeros("<f8", &[40_000_000]))));
    refused_case(&copy, "times its size");
}

#[rstest]
#[case::reference("reference.npz")]
#[case::noise("noise.npz")]
fn a_missing_or_altered_archive_is_refused(#[case] file: &str) {
    let copy = Copy::of("tiny-llama", "single");
    copy.remove(file);
    refused_case(&copy, &format!("{file}: missing"));
    fs::write(copy.path().join(file), b"PK\x05\x06").unwrap();
    refused_case(&copy, file);
}

#[rstest]
#[case::not_a_folder("nowhere", "nowhere")]
#[case::escapes("\u{1b}[2J", "\\u{1b}[2J")]
fn references_that_do_not_exist_are_refused(#[case] name: &str, #[case] why: &str) {
    refused(tempfile::tempdir().unwrap().path(), &["run", "03", "--references", name], why);
}

#[test]
fn references_without_a_case_are_refused() {
    refused(tempfile::tempdir().unwrap().path(), &["run", "03", "--references", "."], "no cases");
}

/// A name in the facts that looks like a line of the program, and moves the cursor.
#[test]
fn names_in_findings_are_escaped() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("short")).unwrap();
    for file in ["facts.json", "tokens.json", "greedy.json", "sampling.json", "sampling.npz"]
        .into_iter()
        .chain(["short/manifest.json", "short/reference.npz", "short/noise.npz"])
    {
        fs::copy(fixtures("tiny-llama2").join(file), folder.path().join(file)).unwrap();
    }
    let path = folder.path().join("facts.json");
    let mut facts: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    facts["tensors"]["\u{1b}[2J\n  PASS  00  weights"] = json!({"shape": [1], "sha256": "00"});
    facts["tensors"]["n".repeat(200_000)] = json!({"shape": [1], "sha256": "00"});
    fs::write(path, facts.to_string()).unwrap();
    let run = run(folder.path(), &["run", "00", "-vv", "--model", "tiny-llama2", "--references", "."]);
    assert_eq!(run.code, 1, "{:.3000}{:.3000}", run.stdout, run.stderr);
    let text = run.stdout + &run.stderr;
    assert!(text.contains("\\u{1b}[2J\\n  PASS"), "{text:.3000}");
    assert!(
        text.lines()
            .all(|line| !line.contains('\u{1b}') && !line.starts_with("  PASS  00") && line.len() < 2_000)
    );
}
