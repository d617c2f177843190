//! A run that several machines share: the merged report of its parts equals the report of the unsplit run.

mod program;

use std::fs;
use std::path::Path;

use program::{home, rbees_in, stderr, stdout, wrong_theta};
use rstest::rstest;
use serde_json::Value;
use tempfile::TempDir;

const REPORTS: [&str; 6] = ["--report", "json=r.json", "--report", "html=r.html", "--report", "junit=r.xml"];

/// Runs in `folder`; returns the exit code and what was printed.
fn run(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let output = rbees_in(folder, &home(), args).output().unwrap();
    (output.status.code().unwrap(), stdout(&output), stderr(&output))
}

/// Runs the four parts of `run args` in `folder` and returns their files, `part-1.json` to `part-4.json`.
fn parts(folder: &Path, args: &[&str]) -> Vec<String> {
    let part = |number: usize| {
        let (shard, file) = (format!("{number}/4"), format!("part-{number}.json"));
        let report = format!("json={file}");
        let (_, printed, problem) =
            run(folder, &[&["run"], args, &["--shard", &shard, "--report", &report]].concat());
        assert!(printed.contains(&format!("part {number} of 4")), "{printed}{problem}");
        file
    };
    (1..=4).map(part).collect()
}

fn merge(folder: &Path, files: &[&str], reports: &[&str]) -> (i32, String, String) {
    run(folder, &[&["merge"], files, reports].concat())
}

/// The reports that a run has written, JSON, HTML and JUnit.
fn reports(folder: &Path) -> [String; 3] {
    ["r.json", "r.html", "r.xml"].map(|file| fs::read_to_string(folder.join(file)).unwrap())
}

#[rstest]
#[case::passing(&["all", "--case", "short", "--case", "single", "--model", "tiny-llama"])]
#[case::failing(&["all", "--case", "short", "--case", "single", "--model", "wrong", "--references", "tiny-llama"])]
fn four_merged_parts_equal_the_unsplit_run(#[case] args: &[&str]) {
    let folder = home();
    wrong_theta(&folder.path().join("wrong"));
    let (code, text, _) = run(folder.path(), &[&["run"], args, &REPORTS].concat());
    let unsplit = reports(folder.path());
    let files = parts(folder.path(), args);
    for file in ["r.json", "r.html", "r.xml"] {
        fs::remove_file(folder.path().join(file)).unwrap();
    }
    // In another order than they were judged in.
    let files: Vec<&str> = files.iter().rev().map(String::as_str).collect();
    let (merged_code, merged_text, problem) = merge(folder.path(), &files, &REPORTS);
    assert_eq!((merged_code, problem.as_str()), (code, ""));
    let merged = reports(folder.path());
    for (merged, unsplit) in merged.iter().zip(&unsplit) {
        assert!(merged == unsplit, "the reports differ at {}", first_difference(merged, unsplit));
    }
    // A run in which everything passed also prints a sample of the model's text.
    let verdict = text.split_once("checkpoints: ").unwrap();
    assert!(text.starts_with(merged_text.rsplit_once("checkpoints: ").unwrap().0), "{text}{merged_text}");
    assert_eq!(merged_text.rsplit_once("checkpoints: ").unwrap().1, verdict.1);
}

fn first_difference(a: &str, b: &str) -> String {
    let differing = a.lines().zip(b.lines()).find(|(a, b)| a != b);
    differing.map_or_else(|| "the end".into(), |(a, b)| format!("{a:?} and {b:?}"))
}

/// The parts of a quick run, in a folder.
fn quick(args: &[&str]) -> TempDir {
    let folder = home();
    parts(folder.path(), &[&["1B", "8"], args].concat());
    folder
}

#[test]
fn parts_of_one_run_merge_only_if_each_is_there_once() {
    let folder = quick(&["--case", "short"]);
    let all = ["part-1.json", "part-2.json", "part-3.json", "part-4.json"];
    let refused = |files: &[&str], what: &str| {
        let (code, printed, problem) = merge(folder.path(), files, &["--report", "json=r.json"]);
        assert_eq!((code, printed.as_str()), (2, ""), "{problem}");
        assert!(problem.starts_with(&format!("error: {what}\nhint: ")), "{problem}");
        assert!(!folder.path().join("r.json").exists());
    };
    refused(&all[..3], "part 4 of 4: missing");
    refused(&all[1..2], "parts 1, 3, 4 of 4: missing");
    refused(&[&all[..], &all[..1]].concat(), "part-1.json and part-1.json are both part 1 of 4");
    fs::copy(folder.path().join("part-2.json"), folder.path().join("part-3.json")).unwrap();
    refused(&all, "part-2.json and part-3.json are both part 2 of 4");
}

#[rstest]
#[case::model("/model/weights_sha256", "0000000000000000000000000000000000000000000000000000000000000000".into(), "the model is ")]
#[case::case("/references/cases/0/sites_sha256", "another".into(), "the cases is ")]
#[case::version("/tool/version", "0.0.1".into(), "the version is ")]
#[case::dtype("/run/dtype", "bf16".into(), "the dtype is ")]
#[case::count("/part/of", 5.into(), "the number of parts is ")]
fn parts_of_different_runs_are_refused(#[case] at: &str, #[case] value: Value, #[case] what: &str) {
    let folder = quick(&["--case", "single"]);
    let file = folder.path().join("part-2.json");
    let mut report: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    *report.pointer_mut(at).unwrap() = value;
    fs::write(&file, report.to_string()).unwrap();
    let files = ["part-1.json", "part-2.json", "part-3.json", "part-4.json"];
    let (code, _, problem) = merge(folder.path(), &files, &[]);
    assert_eq!(code, 2, "{problem}");
    assert!(
        problem.contains("part-1.json and part-2.json are parts of different runs: ")
            && problem.contains(what),
        "{problem}"
    );
}

#[rstest]
#[case::too_many("/part/of", 1_000_000_000_000_000)]
#[case::no_number("/part/number", 0)]
#[case::no_such_part("/part/number", 5)]
fn a_part_with_a_number_that_no_run_has_is_refused(#[case] at: &str, #[case] number: u64) {
    let (code, _, problem) = merge_with(at, &number.into());
    assert_eq!(code, 2, "{problem}");
    assert!(problem.contains(": no run of its cases has a part "), "{problem}");
}

#[test]
fn parts_without_a_verdict_are_refused() {
    let (code, printed, problem) = merge_with("/part/units", &Value::Array(vec![]));
    assert_eq!((code, printed.as_str()), (2, ""), "{problem}");
    let what = "error: part-1.json: neither this part nor any other contains a verdict\nhint: judge the parts again\n";
    assert_eq!(problem, what);
}

/// Merges four parts that all have `value` at `at`.
fn merge_with(at: &str, value: &Value) -> (i32, String, String) {
    let folder = quick(&["--case", "single"]);
    let files = ["part-1.json", "part-2.json", "part-3.json", "part-4.json"];
    for name in files {
        let file = folder.path().join(name);
        let mut report: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        *report.pointer_mut(at).unwrap() = value.clone();
        fs::write(&file, report.to_string()).unwrap();
    }
    merge(folder.path(), &files, &[])
}

#[test]
fn a_report_of_a_whole_run_is_not_merged() {
    let folder = home();
    run(folder.path(), &["run", "1B", "--case", "single", "--report", "json=whole.json"]);
    let (code, _, problem) = merge(folder.path(), &["whole.json"], &[]);
    assert_eq!(code, 2);
    assert!(
        problem.starts_with("error: whole.json: this report is of a whole run, not of a part\n"),
        "{problem}"
    );
}

#[rstest]
#[case::no_report(&["--shard", "1/2"], "a part is written as one JSON report")]
#[case::other_form(&["--shard", "1/2", "--report", "html=r.html"], "a part is written as one JSON report")]
#[case::too_many(&["--shard", "9/9", "--case", "single", "--report", "json=r.json"], "a run of 1 case has at most 7 parts")]
#[case::no_such_part(&["--shard", "3/2", "--report", "json=r.json"], "a part is K/N, with K from 1 to N")]
fn a_part_that_cannot_be_judged_is_refused(#[case] args: &[&str], #[case] what: &str) {
    let folder = home();
    let (code, _, problem) = run(folder.path(), &[&["run", "1B"], args].concat());
    assert_eq!(code, 2);
    assert!(problem.contains(what), "{problem}");
}
