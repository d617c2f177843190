//! Reports of the parts of a run, which `merge` puts together.

use rstest::rstest;
use serde_json::{Value, json};

use super::*;

/// A folder with the report of the only part of a run, changed at a JSON pointer.
fn part(pointer: &str, value: Value) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let args = [
        "run",
        "01",
        "--case",
        "single",
        "--attention",
        "plain",
        "--shard",
        "1/1",
        "--report",
        "json=part.json",
    ];
    assert_eq!(run(folder.path(), &args).code, 0);
    let path = folder.path().join("part.json");
    let mut report: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    *report.pointer_mut(pointer).unwrap() = value;
    fs::write(path, report.to_string()).unwrap();
    folder
}

#[rstest]
#[case::number("/part/number", json!(7), "has a part 7 of 1")]
#[case::number_0("/part/number", json!(0), "part.json: ")]
#[case::of_2_pow_40("/part/of", json!(1u64 << 40), "has a part 1 of 1099511627776")]
#[case::unknown_checkpoint("/part/units/0/checkpoint", json!("\u{1b}[2J"), "part.json: not a report")]
#[case::units_are_a_number("/part/units", json!(3), "part.json: not a report")]
#[case::format("/format", json!(99), "format version 99")]
#[case::no_part("/part", Value::Null, "is of a whole run")]
fn a_part_that_does_not_belong_to_a_run_is_refused(
    #[case] pointer: &str,
    #[case] value: Value,
    #[case] why: &str,
) {
    refused(part(pointer, value).path(), &["merge", "part.json"], why);
}

#[test]
fn a_part_that_is_named_twice_is_refused() {
    let folder = part("/format", json!(1));
    refused(folder.path(), &["merge", "part.json", "part.json"], "part.json");
}
