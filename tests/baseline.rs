//! `run --baseline`: lists what has changed since an earlier report, and refuses invalid baseline files.

mod program;

use std::fs;

use insta::assert_snapshot;
use program::{home, masked, printed_in, rbees_in, reported, stdout, wrong_theta};
use rstest::rstest;
use serde_json::{Value, json};

/// The output of a run of 01B and 03 whose baseline is the report of the same run, edited by `change`.
fn since(change: impl FnOnce(&mut Value)) -> String {
    let folder = home();
    let args = ["1B", "3", "--case", "single"];
    let (_, mut earlier, _) = reported(folder.path(), &args);
    change(&mut earlier);
    fs::write(folder.path().join("old.json"), earlier.to_string()).unwrap();
    let text = printed_in(folder.path(), &[&["run"], &args[..], &["--baseline", "old.json"]].concat());
    masked(&text, "% of budget, was")
}

/// The finding for `site` on the plain path.
fn about<'a>(report: &'a mut Value, checkpoint: usize, site: &str) -> &'a mut Value {
    let findings = report["checkpoints"][checkpoint]["findings"].as_array_mut().unwrap();
    findings.iter_mut().find(|f| f["site"] == site && f["drive"] == "plain, feed site").unwrap()
}

#[test]
fn an_unchanged_report_prints_one_line() {
    assert_snapshot!("since-nothing", since(|_| {}));
}

#[test]
fn a_site_that_uses_more_of_its_budget_is_listed() {
    let text = since(|earlier| {
        let finding = about(earlier, 0, "model.layers.1.self_attn.k_rope");
        finding["verdict"]["share"] = json!(0.001);
    });
    let line = text.lines().find(|line| line.starts_with("   grown ")).unwrap();
    assert!(line.contains("01B model.layers.1.self_attn.k_rope (single; plain, feed site): "), "{text}");
    assert!(line.ends_with(" of budget, was 0.1%") && text.contains("since old.json: 1 grown, "), "{text}");
}

#[test]
fn fixed_added_and_removed_sites_are_listed() {
    assert_snapshot!(
        "since-sites",
        since(|earlier| {
            let red = about(earlier, 0, "model.layers.2.self_attn.q_rope");
            red["status"] = json!("failed");
            red["verdict"] = json!({"kind": "never_reached"});
            about(earlier, 0, "model.layers.3.self_attn.q_rope")["about"] = json!("model.layers.9.strange");
        })
    );
}

#[test]
fn a_changed_model_device_or_dtype_is_listed() {
    assert_snapshot!(
        "since-settings",
        since(|earlier| {
            earlier["run"]["device"] = json!("cuda:0");
            earlier["run"]["dtype"] = json!("bf16");
            earlier["model"]["name"] = json!("tiny-llama2");
            earlier["model"]["weights_sha256"] = json!("0".repeat(64));
        })
        .lines()
        .filter(|line| !line.contains("   weights "))
        .collect::<Vec<_>>()
        .join("\n")
    );
}

#[test]
fn a_newly_failing_site_is_listed_and_fails_the_run() {
    let folder = home();
    let args = ["1B", "--case", "short", "--attention", "plain"];
    reported(folder.path(), &args);
    fs::rename(folder.path().join("r.json"), folder.path().join("old.json")).unwrap();
    wrong_theta(&folder.path().join("wrong"));
    let wrong = ["--model", "wrong", "--references", "tiny-llama", "--baseline", "old.json"];
    let output = rbees_in(folder.path(), &home(), &[&["run"], &args[..], &wrong].concat()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    let (_, since) = text.split_once("since old.json: ").unwrap();
    let since: Vec<&str> = since.lines().filter(|line| !line.contains("   weights ")).collect();
    assert_snapshot!("since-newly-red", since.join("\n"));
}

#[rstest]
#[case("missing", None)]
#[case("broken", Some("{\"format\": 1, "))]
#[case("other", Some("{\"a\": 1}"))]
#[case("duplicate-key", Some("{\"format\": 1, \"format\": 1}"))]
#[case("newer", Some("{\"format\": 2}"))]
#[case("part", Some("{\"format\": 1}"))]
fn an_invalid_baseline_file_is_refused_before_anything_runs(#[case] name: &str, #[case] text: Option<&str>) {
    let folder = home();
    text.iter().for_each(|text| fs::write(folder.path().join("old.json"), text).unwrap());
    let args = ["run", "1", "--case", "single", "--report", "json=r.json", "--baseline", "old.json"];
    let text = printed_in(folder.path(), &args);
    assert!(text.starts_with("--- stderr\nerror: old.json: ") && text.ends_with("--- exit 2\n"), "{text}");
    assert!(!folder.path().join("r.json").exists());
    assert_snapshot!(name, text);
}
