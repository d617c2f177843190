//! The files of facts about a model (`facts.json`, `tokens.json`, `greedy.json`, `sampling.*`): shortened or
//! altered files and unknown formats are refused.

mod program;

use std::fs;
use std::path::{Path, PathBuf};

use program::{home, rbees};
use rbees_check::models;
use rbees_check::reference::Fixture;
use rstest::rstest;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// A copy of the references of tiny-llama2 that a test may damage.
fn copy() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-llama2");
    fs::create_dir(folder.path().join("short")).unwrap();
    for file in [
        "facts.json",
        "tokens.json",
        "greedy.json",
        "sampling.json",
        "sampling.npz",
        "short/manifest.json",
        "short/reference.npz",
        "short/noise.npz",
    ] {
        fs::copy(from.join(file), folder.path().join(file)).unwrap();
    }
    folder
}

/// Replaces the value at `pointer` in a JSON file.
fn put(file: PathBuf, pointer: &str, value: Value) {
    let mut json: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    *json.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value;
    fs::write(file, serde_json::to_vec(&json).unwrap()).unwrap();
}

/// Changes a file and updates its hash in `facts.json`.
fn put_and_list(folder: &Path, name: &str, pointer: &str, value: Value) {
    put(folder.join(name), pointer, value);
    if name != "facts.json" {
        let sha256 = format!("{:x}", Sha256::digest(fs::read(folder.join(name)).unwrap()));
        put(folder.join("facts.json"), &format!("/files/{name}"), json!(sha256));
    }
}

/// The error of reading all facts, without its folder.
fn refusal(folder: &Path) -> String {
    let fixture: Fixture = models::references(folder.to_str().unwrap()).unwrap();
    let facts = fixture.facts().map(drop);
    let read = facts.and_then(|()| fixture.tokens().map(drop));
    let read = read.and_then(|()| fixture.greedy().map(drop));
    let error = read.and_then(|()| fixture.sampling().map(drop)).expect_err("a refusal");
    assert!(error.hint().unwrap().contains("scripts/capture_reference.py"));
    error.to_string().rsplit('/').next().unwrap().to_owned()
}

#[rstest]
#[case::no_texts("tokens.json", "/encode", json!([]))]
#[case::no_prompts("greedy.json", "/prompts", json!([]))]
#[case::no_settings("sampling.json", "/cases", json!([]))]
#[case::changed_token_ids("tokens.json", "/encode/0/ids", json!([1]))]
fn a_file_whose_hash_differs_from_facts_json_is_refused(
    #[case] name: &str,
    #[case] pointer: &str,
    #[case] value: Value,
) {
    let folder = copy();
    put(folder.path().join(name), pointer, value);
    assert_eq!(refusal(folder.path()), format!("{name}: it does not match facts.json (SHA-256)"));
}

#[test]
fn a_sampling_archive_whose_hash_differs_from_facts_json_is_refused() {
    let folder = copy();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-llama/sampling.npz");
    fs::copy(from, folder.path().join("sampling.npz")).unwrap();
    assert_eq!(refusal(folder.path()), "sampling.npz: it does not match facts.json (SHA-256)");
}

#[rstest]
#[case("tokens.json", "/encode", json!([]), "it contains no texts: `encode` is empty")]
#[case("tokens.json", "/format", json!(7), "it has format version 7, but this program reads version 1")]
#[case("greedy.json", "/prompts", json!([]), "it contains no prompts: `prompts` is empty")]
#[case("greedy.json", "/prompts/0/tokens", json!([]), "prompt \"And God said,\" has no tokens")]
#[case("greedy.json", "/prompts/0/ids", json!([]), "prompt \"And God said,\" has no ids")]
#[case("greedy.json", "/prompts/0/gap", json!([]), "has 64 tokens, but 0 entries in `gap`")]
#[case("greedy.json", "/prompts/0/runner_up", json!([1]), "has 64 tokens, but 1 entries in `runner_up`")]
#[case("greedy.json", "/prompts/0/gap_error/bf16", json!([]), "has 64 tokens, but 0 entries in `bf16`")]
#[case("greedy.json", "/format", json!(2), "it has format version 2, but this program reads version 1")]
#[case("sampling.json", "/cases", json!([]), "it contains no cases: `cases` is empty")]
#[case("sampling.json", "/format", json!(0), "it has format version 0, but this program reads version 1")]
#[case("facts.json", "/tensors", json!({}), "it lists no tensors")]
#[case("facts.json", "/format", json!(1), "it has format version 1, but this program reads version 2")]
#[case("facts.json", "/files", json!({}), "it does not list tokens.json")]
fn empty_lists_and_unknown_formats_are_refused_even_with_a_correct_hash(
    #[case] name: &str,
    #[case] pointer: &str,
    #[case] value: Value,
    #[case] why: &str,
) {
    let folder = copy();
    put_and_list(folder.path(), name, pointer, value);
    let refusal = refusal(folder.path());
    assert!(refusal.starts_with(&format!("{name}: ")) && refusal.ends_with(why), "{refusal}");
}

#[rstest]
#[case("09", "greedy.json", "/prompts/0/gap")]
#[case("09", "greedy.json", "/prompts/0/tokens")]
#[case("00B", "tokens.json", "/encode")]
fn the_program_exits_with_2_and_prints_an_error_and_a_hint(
    #[case] id: &str,
    #[case] name: &str,
    #[case] pointer: &str,
) {
    let (folder, home) = (copy(), home());
    put_and_list(folder.path(), name, pointer, json!([]));
    let references = folder.path().to_str().unwrap();
    let ran = rbees(&home, &["run", id, "--model", "tiny-llama2", "--references", references]).output();
    let ran = ran.unwrap();
    let stderr = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(2), "{stderr}");
    let lines: Vec<&str> = stderr.lines().collect();
    assert!(lines.len() == 2 && lines[0].contains(name) && lines[1].starts_with("hint: "), "{stderr}");
}
