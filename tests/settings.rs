//! `rbees-check.toml`: its settings and how flags override them, expected failures, and refused files.

mod program;

use std::fs;
use std::path::Path;

use insta::assert_snapshot;
use program::{home, printed_in, ran, rbees_in, stderr, stdout, wrong_theta};
use rstest::rstest;
use serde_json::Value;
use tempfile::TempDir;

/// A project whose model has a wrong θ. Its `rbees-check.toml` selects one case and one path, followed by
/// `more`.
fn project(more: &str) -> TempDir {
    let folder = home();
    wrong_theta(&folder.path().join("wrong"));
    let settings =
        "model = \"wrong\"\nreferences = \"tiny-llama\"\ncases = [\"short\"]\nattention = \"plain\"\n";
    fs::write(folder.path().join("rbees-check.toml"), format!("{settings}{more}")).unwrap();
    folder
}

fn expect(text: &str) -> String {
    format!("\n[[expect]]\n{text}\n")
}

const ROPE: &str = "checkpoint = \"01B\"\nreason = \"θ is fixed in the next release\"";

#[test]
fn an_expected_failure_is_shown_and_counted_and_does_not_fail_the_run() {
    let folder = project(&expect(ROPE));
    assert_snapshot!("xfail", printed_in(folder.path(), &["run", "1B", "3", "-v"]));
}

#[test]
fn an_expected_failure_that_passes_is_stale_and_fails_the_run() {
    let more = expect("checkpoint = \"attention\"\nreason = \"softmax in f16\"");
    let folder = project(&(expect(ROPE) + &more));
    assert_snapshot!("stale", printed_in(folder.path(), &["run", "1B", "3"]));
}

#[test]
fn an_expectation_about_a_checkpoint_that_did_not_run_is_not_stale() {
    let folder = project(&expect("checkpoint = \"03\"\nreason = \"softmax in f16\""));
    let text = printed_in(folder.path(), &["run", "01"]);
    assert!(text.ends_with("checkpoints: 1 passed, 0 failed, 0 skipped\n--- exit 0\n"), "{text}");
}

#[test]
fn an_expectation_for_one_site_does_not_excuse_other_sites() {
    let site = "checkpoint = \"1B\"\nsite = \"model.layers.0.self_attn.q_rope\"\nreason = \"known\"";
    let folder = project(&expect(site));
    assert_snapshot!("xfail-one-site", printed_in(folder.path(), &["run", "1B"]));
}

#[test]
fn an_expectation_for_one_case_does_not_excuse_other_cases() {
    let folder = project(&expect(&format!("{ROPE}\ncase = \"long\"")));
    let text = printed_in(folder.path(), &["run", "1B"]);
    assert!(text.contains("FAIL  01B rope         8 of 8 sites wrong\n"), "{text}");
    assert!(text.contains("note: rbees-check.toml:6: matches nothing that was judged\n"), "{text}");
    assert!(text.ends_with("--- exit 1\n"), "{text}");
}

#[test]
fn reports_contain_expected_failures_and_stale_expectations() {
    let folder = project(&(expect(ROPE) + &expect("checkpoint = \"01\"\nreason = \"eps\"")));
    let args = ["run", "1", "1B", "--report", "json=r.json", "--report", "junit=r.xml"];
    let output = rbees_in(folder.path(), &home(), &args).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&fs::read(folder.path().join("r.json")).unwrap()).unwrap();
    assert_eq!((&report["summary"]["expected"], &report["summary"]["failed"]), (&1.into(), &0.into()));
    assert_eq!(report["stale_expectations"][0]["origin"], "rbees-check.toml:10");
    let rope = &report["checkpoints"][1]["findings"][0];
    assert_eq!(
        (&rope["status"], &rope["expected"]),
        (&"expected".into(), &"θ is fixed in the next release".into())
    );
    let xml = fs::read_to_string(folder.path().join("r.xml")).unwrap();
    let document = roxmltree::Document::parse(&xml).unwrap();
    let counts =
        ["skipped", "failures", "errors"].map(|name| document.root_element().attribute(name).unwrap());
    assert_eq!(counts, ["8", "1", "0"], "eight expected failures and one stale expectation");
}

#[test]
fn settings_apply_in_subfolders() {
    let folder = project(&expect(ROPE));
    let below = folder.path().join("src/deep");
    fs::create_dir_all(&below).unwrap();
    let text = printed_in(&below, &["run", "1B"]);
    assert!(text.contains("XFAIL 01B rope         8 of 8 sites wrong, as expected: θ is fixed"), "{text}");
}

#[test]
fn overriding_the_model_by_a_flag_disables_the_expectations_of_the_file() {
    let folder = project(&expect(ROPE));
    let output = rbees_in(folder.path(), &home(), &["run", "1B", "--model", "tiny-llama"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).starts_with("tiny-llama · "), "{}", stdout(&output));
    let note =
        "note: rbees-check.toml expects failures of another model, so its expectations are ignored here\n";
    assert_eq!(stderr(&output), note);
}

#[test]
fn an_expectation_is_not_stale_if_only_a_part_of_it_was_judged_and_passes() {
    // A single token at position 0 is not rotated, so a wrong θ has no effect on it.
    let folder = project(&expect(ROPE));
    let output = rbees_in(folder.path(), &home(), &["run", "1B", "--case", "single"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    let note = "note: rbees-check.toml:6: 01B was expected to fail (θ is fixed in the next release), but passes in the part that was judged\n";
    assert_eq!(stderr(&output), note);
}

#[test]
fn an_expected_failure_still_blocks_generate() {
    let folder = project(&expect(ROPE));
    let output = rbees_in(folder.path(), &home(), &["generate", "And the king", "--max-tokens", "2"])
        .output()
        .unwrap();
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), ""), "{}", stderr(&output));
}

#[rstest]
#[case("unknown-key", "modell = \"x\"\n")]
#[case("duplicate-key", "dtype = \"f32\"\ndtype = \"bf16\"\n")]
#[case("duplicate-key-of-expectation", "[[expect]]\ncheckpoint = \"01\"\nreason = \"x\"\nreason = \"y\"\n")]
#[case("unknown-key-of-expectation", "\n[[expect]]\ncheckpoint = \"01\"\nreason = \"x\"\nuntil = \"2027\"\n")]
#[case("no-reason", "[[expect]]\ncheckpoint = \"01B\"\n")]
#[case("empty-reason", "[[expect]]\ncheckpoint = \"01B\"\nreason = \" \"\n")]
#[case("no-such-checkpoint", "dtype = \"f32\"\n[[expect]]\ncheckpoint = \"rop\"\nreason = \"x\"\n")]
#[case(
    "no-such-site",
    "[[expect]]\ncheckpoint = \"3\"\nreason = \"x\"\nsite = \"model.layers.x.self_attn\"\n"
)]
#[case("no-such-dtype", "dtype = \"f64\"\n")]
#[case("wrong-type", "cases = \"short\"\n")]
#[case("no-toml", "model = \n")]
fn an_invalid_settings_file_is_refused_before_anything_runs(#[case] name: &str, #[case] text: &str) {
    let folder = home();
    fs::write(folder.path().join("rbees-check.toml"), text).unwrap();
    let text = printed_in(folder.path(), &["run", "1", "--report", "json=r.json"]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        matches!(&lines[..], ["--- stderr", error, hint, "--- exit 2"]
        if error.starts_with("error: rbees-check.toml:") && hint.starts_with("hint: ")),
        "{text}"
    );
    assert_snapshot!(format!("toml-{name}"), text);
    assert!(!folder.path().join("r.json").exists());
}

#[cfg(unix)]
#[test]
fn a_pipe_in_place_of_the_settings_file_is_refused() {
    let folder = home();
    let pipe = folder.path().join("rbees-check.toml");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let text = printed_in(folder.path(), &["run", "1"]);
    assert!(
        text.contains("rbees-check.toml: is not a regular file\n") && text.ends_with("--- exit 2\n"),
        "{text}"
    );
}

#[test]
fn a_run_without_a_settings_file_uses_the_defaults() {
    assert!(!Path::new("/rbees-check.toml").exists());
    assert_eq!(ran(&["run", "1", "--case", "single"]).status.code(), Some(0));
}

#[test]
fn the_example_in_docs_ci_md_is_a_valid_settings_file() {
    let text = include_str!("../docs/ci.md");
    let (_, after) = text.split_once("```toml\n").unwrap();
    let (settings, _) = after.split_once("```").unwrap();
    let folder = home();
    fs::write(folder.path().join("rbees-check.toml"), settings).unwrap();
    let text = printed_in(folder.path(), &["run", "1B", "-v"]);
    assert!(
        text.contains("stale: rbees-check.toml:7: 01B model.layers.0.self_attn.q_rope in case short"),
        "{text}"
    );
}
