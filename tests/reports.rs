//! The JSON and JUnit reports: JSON follows its schema, JUnit is well-formed, and the two agree.

mod program;
mod recorded;

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use candle_core::Tensor;
use insta::assert_snapshot;
use program::{home, printed_in, rbees_in, reported, stderr, wrong_theta};
use roxmltree::Document;
use rstest::rstest;
use serde_json::{Value, json};

/// The exit code, JSON and JUnit report of a passing run of all checkpoints.
static PASSING: LazyLock<(i32, Value, String)> =
    LazyLock::new(|| reported(home().path(), &["all", "--model", "tiny-llama2"]));

/// The same of a run in which facts and sites fail, and one checkpoint is skipped because of the failures.
static FAILING: LazyLock<(i32, Value, String)> = LazyLock::new(|| {
    let folder = home();
    wrong_theta(&folder.path().join("wrong"));
    reported(folder.path(), &["0", "1", "1B", "6", "9", "--model", "wrong", "--references", "tiny-llama"])
});

/// The schema violations of a report.
fn complaints(report: &Value) -> Vec<String> {
    let text = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/report.schema.json")).unwrap();
    let schema = serde_json::from_slice(&text).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    schema.iter_errors(report).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

fn findings(report: &Value) -> impl Iterator<Item = &Value> {
    let checkpoints = report["checkpoints"].as_array().unwrap().iter();
    checkpoints.flat_map(|checkpoint| checkpoint["findings"].as_array().unwrap())
}

#[test]
fn a_passing_report_follows_the_schema_and_describes_the_run() {
    let (code, report, _) = &*PASSING;
    assert_eq!(complaints(report), [""; 0]);
    assert_eq!((*code, &report["exit_code"], &report["format"]), (0, &json!(0), &json!(1)));
    assert_eq!(report["summary"]["passed"], 12);
    assert_eq!(report["model"]["shape"], "3 layers, width 128, 4 heads");
    assert_eq!(
        [&report["run"]["device"], &report["run"]["dtype"], &report["run"]["matmul"]],
        ["cpu", "f32", "dense"]
    );
    let cases: Vec<&Value> =
        report["references"]["cases"].as_array().unwrap().iter().map(|case| &case["case"]).collect();
    assert_eq!(cases, ["batch-right", "short"]);
    assert!(findings(report).count() > 1000);
    assert!(findings(report).all(|finding| finding["verdict"]["kind"] == "pass"));
}

#[test]
fn a_failing_report_follows_the_schema_and_describes_the_failures() {
    let (code, report, _) = &*FAILING;
    assert_eq!(complaints(report), [""; 0]);
    assert_eq!((*code, &report["exit_code"]), (1, &json!(1)));
    let statuses: Vec<&Value> =
        report["checkpoints"].as_array().unwrap().iter().map(|checkpoint| &checkpoint["status"]).collect();
    assert_eq!(statuses, ["failed", "passed", "failed", "failed", "skipped"]);
    assert_eq!(report["checkpoints"][4]["skipped"], "not run because 00, 01B, 06 did not pass");
    let first = findings(report).find(|finding| finding["verdict"]["kind"] == "differs").unwrap();
    assert_eq!(first["site"], "model.layers.0.self_attn.q_rope");
    assert_eq!(first["verdict"]["elements"], 1920);
    let worst = &first["verdict"]["worst"];
    let past = worst["got"].as_f64().unwrap() - worst["want"].as_f64().unwrap();
    assert!(past.abs() > worst["budget"].as_f64().unwrap(), "{first}");
}

#[rstest]
#[case::a_part(&["run", "1", "--case", "single", "--shard", "1/2", "--report", "json=r.json"], "/part/of", json!(2))]
#[case::own_references(
    &["run", "1", "--reference", "oracle", "--prompt", "Hello", "--report", "json=r.json"],
    "/summary/own",
    json!(1)
)]
fn reports_of_other_runs_follow_the_schema(#[case] args: &[&str], #[case] at: &str, #[case] value: Value) {
    let folder = home();
    let output = rbees_in(folder.path(), &home(), args).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&fs::read(folder.path().join("r.json")).unwrap()).unwrap();
    assert_eq!(complaints(&report), [""; 0]);
    assert_eq!(report.pointer(at), Some(&value));
}

/// A model with such weights is refused, but a recording may contain them.
#[rstest]
#[case::nan(f32::NAN, "NaN")]
#[case::infinity(f32::INFINITY, "Infinity")]
#[case::minus_infinity(f32::NEG_INFINITY, "-Infinity")]
fn nan_and_infinities_are_written_as_strings(#[case] number: f32, #[case] expected: &str) {
    let (folder, mut arrays) = (home(), recorded::short());
    let norm = &arrays["model.norm"];
    let mut values = norm.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    values[0] = number;
    let norm = Tensor::from_vec(values, norm.shape(), norm.device()).unwrap();
    arrays.insert("model.norm".into(), norm);
    let dump = recorded::write(folder.path(), &arrays);
    let (code, report, _) = reported(folder.path(), &["01", "--dump", dump.to_str().unwrap()]);
    assert_eq!(complaints(&report), [""; 0]);
    assert_eq!(code, 1);
    let norm = findings(&report).find(|f| f["site"] == "model.norm" && f["status"] == "failed").unwrap();
    assert_eq!(norm["verdict"]["not_finite"], 1);
    assert_eq!(norm["verdict"]["first"]["got"], expected, "{norm}");
}

#[rstest]
#[case::unknown_format("/format", json!(2))]
#[case::unknown_status("/checkpoints/0/status", json!("fine"))]
#[case::unknown_verdict("/checkpoints/2/findings/0/verdict/kind", json!("perfect"))]
#[case::pass_without_a_share("/checkpoints/2/findings/0/verdict", json!({"kind": "pass"}))]
#[case::share_as_text("/checkpoints/2/findings/0/verdict/share", json!("0.3"))]
#[case::invalid_hash("/model/weights_sha256", json!("unknown"))]
#[case::findings_null("/checkpoints/0/findings", json!(null))]
#[case::negative_count("/summary/passed", json!(-1))]
#[case::unknown_field("/tool", json!({"name": "rbees-check", "version": "1", "mood": "good"}))]
fn the_schema_rejects_an_invalid_field(#[case] place: &str, #[case] value: Value) {
    let mut report = PASSING.1.clone();
    *report.pointer_mut(place).unwrap() = value;
    assert!(!complaints(&report).is_empty());
}

#[test]
fn a_report_contains_the_suspects_of_failing_sites_that_got_reference_inputs() {
    let (_, report, _) = &*FAILING;
    let first = findings(report).find(|finding| finding["verdict"]["kind"] == "differs").unwrap();
    let suspects = &first["suspects"];
    let [named] = &suspects["named"].as_array().unwrap()[..] else { panic!("{suspects}") };
    assert_eq!(named["mistake"], "rope-theta");
    assert!(named["says"].as_str().unwrap().contains("10000"), "{named}");
    let residual = |of: &Value| of["residual"].as_f64().unwrap();
    assert!(residual(named) < 1.0, "a named mistake must reproduce the tensor within its budget");
    assert!(residual(&suspects["runner_up"]) > 100.0, "{suspects}");
    // With feed `block`, a site's inputs are the model's own values, so no suspects are looked for.
    let asked = |f: &Value| f.get("suspects").is_some();
    let differs = |f: &&Value| f["verdict"]["kind"] == "differs";
    for finding in findings(report).filter(differs) {
        let on_reference_inputs = finding["drive"].as_str().unwrap().ends_with("feed site");
        assert_eq!(asked(finding), on_reference_inputs, "{finding}");
    }
    let fed = |f: &&Value| f["verdict"]["kind"] == "differs" && f["drive"] == "plain, feed site";
    assert!(findings(report).filter(fed).all(|f| f["suspects"]["named"][0]["mistake"] == "rope-theta"));
}

#[rstest]
#[case::residual_null("/named/0/residual", json!(null))]
#[case::mistake_as_a_number("/named/0/mistake", json!(7))]
#[case::runner_up_without_a_residual("/runner_up", json!({"mistake": "norm-eps"}))]
#[case::named_null("/named", json!(null))]
fn the_schema_rejects_invalid_suspects(#[case] place: &str, #[case] value: Value) {
    let mut report = FAILING.1.clone();
    let checkpoints = report["checkpoints"].as_array_mut().unwrap().iter_mut();
    let mut all = checkpoints.flat_map(|checkpoint| checkpoint["findings"].as_array_mut().unwrap());
    let red = all.find(|finding| finding["verdict"]["kind"] == "differs").unwrap();
    *red["suspects"].pointer_mut(place).unwrap() = value;
    assert!(!complaints(&report).is_empty());
}

#[rstest]
#[case::passing(&PASSING)]
#[case::failing(&FAILING)]
fn junit_has_the_same_checkpoints_and_counts_as_json(#[case] (_, report, xml): &(i32, Value, String)) {
    let document = Document::parse(xml).unwrap();
    let root = document.root_element();
    assert_eq!(root.tag_name().name(), "testsuites");
    let suites: Vec<_> = root.children().filter(|node| node.has_tag_name("testsuite")).collect();
    let checkpoints = report["checkpoints"].as_array().unwrap();
    assert_eq!(suites.len(), checkpoints.len());
    for (suite, checkpoint) in suites.iter().zip(checkpoints) {
        assert_eq!(
            suite.attribute("name").unwrap(),
            format!("{} {}", checkpoint["id"].as_str().unwrap(), checkpoint["name"].as_str().unwrap())
        );
        let all: Vec<&Value> = checkpoint["findings"].as_array().unwrap().iter().collect();
        let places = |status: Option<&str>| {
            let chosen = all.iter().filter(|f| status.is_none_or(|status| f["status"] == status));
            let places =
                chosen.map(|f| (f["about"].to_string(), f["case"].to_string(), f["drive"].to_string()));
            places.collect::<std::collections::BTreeSet<_>>().len()
        };
        let skipped = usize::from(!checkpoint["skipped"].is_null());
        let tests: Vec<_> = suite.children().filter(|node| node.has_tag_name("testcase")).collect();
        let with = |tag: &str| {
            let one = |test: &&roxmltree::Node<'_, '_>| test.children().any(|node| node.has_tag_name(tag));
            tests.iter().filter(one).count()
        };
        let counted = |name: &str| suite.attribute(name).unwrap().parse::<usize>().unwrap();
        assert_eq!((tests.len(), counted("tests")), (places(None) + skipped, tests.len()));
        assert_eq!((with("failure"), counted("failures")), (places(Some("failed")), with("failure")));
        assert_eq!((with("error"), counted("errors")), (places(Some("not_judged")), with("error")));
        assert_eq!((with("skipped"), counted("skipped")), (skipped, with("skipped")));
    }
}

#[test]
fn a_junit_failure_contains_the_name_class_and_message() {
    let (_, _, xml) = &*FAILING;
    let document = Document::parse(xml).unwrap();
    let failure = document.descendants().find(|node| node.has_tag_name("failure")).unwrap();
    let test = failure.parent_element().unwrap();
    assert_eq!(test.attribute("name"), Some("rope_theta"));
    assert_eq!(test.attribute("classname"), Some("checkpoint_00_weights.model"));
    assert_eq!(failure.attribute("message"), Some("wrong: 10000.0, but transformers reads 30000.0"));
}

#[test]
fn a_report_on_stdout_is_the_only_output_there() {
    let folder = home();
    let args = ["run", "1", "--case", "single", "--report", "json=-"];
    let output = rbees_in(folder.path(), &home(), &args).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(complaints(&report), [""; 0]);
    assert!(stderr(&output).ends_with("checkpoints: 1 passed, 0 failed, 0 skipped\n"));
}

#[rstest]
#[case("report-form", &["--report", "yaml=x"])]
#[case("report-folder", &["--report", "json=no/such/folder/r.json"])]
#[case("report-twice", &["--report", "json=r", "--report", "junit=r"])]
fn an_invalid_report_target_is_refused_before_anything_runs(#[case] name: &str, #[case] args: &[&str]) {
    let folder = home();
    let text = printed_in(folder.path(), &[&["run", "1", "--case", "single"], args].concat());
    assert!(text.starts_with("--- stderr\nerror: ") && text.ends_with("--- exit 2\n"), "{text}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "a file was left behind");
    assert_snapshot!(name, text);
}
