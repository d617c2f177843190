//! Texts that users write or other programs made: the settings, a map of names, an earlier report.

use archives::{ids, stored, zeros};
use rstest::rstest;

use super::*;

#[rstest]
#[case::not_toml("[[[", "rbees-check.toml:1: ")]
#[case::unknown_key("\"\\u001b[2J\" = 1", "\\u{1b}[2J")]
#[case::long_key(&format!("{} = 1", "k".repeat(200_000)), "kkk")]
#[case::dtype("dtype = \"f8\"", "rbees-check.toml:1: ")]
#[case::checkpoint("[[expect]]\ncheckpoint = \"\\u001b[2J\"\nreason = \"x\"", "rbees-check.toml:2: ")]
#[case::no_reason("[[expect]]\ncheckpoint = \"03\"\nreason = \" \"", "the reason is empty")]
#[case::deep(&format!("cases = {}", "[".repeat(100_000)), "rbees-check.toml:1: ")]
#[case::deep_keys(&format!("{}x = 1", "a.".repeat(50_000)), "rbees-check.toml:1: ")]
#[case::oversized(&" ".repeat((1 << 20) + 1), "is larger than the limit of 1048576 bytes")]
#[case::model("model = \"no\\u001b[2J\"", "no\\u{1b}[2J")]
#[case::expectation_is_a_number("expect = 3", "rbees-check.toml:1: ")]
#[case::model_is_a_list("model = [\"a\"]", "rbees-check.toml:1: ")]
#[case::model_is_a_device("model = \"/dev/zero\"", "/dev/zero: is not a regular file")]
#[case::cases_are_a_number("cases = 3", "rbees-check.toml:1: ")]
#[case::unknown_checkpoint("[[expect]]\ncheckpoint = \"99\"\nreason = \"x\"", "`99` is not a checkpoint")]
#[case::unknown_site("[[expect]]\ncheckpoint = \"01\"\nsite = \"\\u001b\"\nreason = \"x\"", "\\u{1b}")]
#[case::deep_tables(&format!("a={}", "{a=".repeat(5_000)), "rbees-check.toml:1: ")]
fn settings_without_a_meaning_are_refused(#[case] text: &str, #[case] why: &str) {
    refused(one("rbees-check.toml", text).path(), &["run", "01"], why);
}

#[rstest]
#[case::not_toml("[[[", "map.toml: ")]
#[case::unknown_key("\"\\u001b[2J\" = 1", "\\u{1b}[2J")]
#[case::site("[names]\n\"a\" = \"\\u001b[2J\"", "\\u{1b}[2J")]
#[case::long_site(&format!("[names]\n\"a\" = \"{}\"", "n".repeat(200_000)), "nnn")]
#[case::layer("[names]\n\"a.{N}\" = \"lm_head\"", "{N} on one side only")]
#[case::layout("[layout]\n\"model.norm\" = \"\\u001b[2J\"", "\\u{1b}[2J")]
#[case::kind("[layout]\n\"\\u001b[2J\" = \"repeated\"", "\\u{1b}[2J")]
#[case::deep(&format!("names = {}", "[".repeat(100_000)), "map.toml: ")]
#[case::not_together("[names]\n\"a\" = [\"lm_head\", \"model.norm\"]", "not side by side")]
#[case::names_are_a_list("names = [\"a\"]", "map.toml: ")]
#[case::layout_is_a_number("[layout]\n\"lm_head\" = 3", "expected a text, or a list of texts")]
#[case::name_is_a_table("[names]\na = {b = \"c\"}", "expected a text, or a list of texts")]
#[case::metadata_is_a_list("[metadata]\ndtype = [\"a\"]", "map.toml: ")]
#[case::unknown_dtype("[metadata]\ndtype = \"f7\"", "unknown dtype `f7`")]
#[case::key_twice("[names]\na = \"lm_head\"\na = \"lm_head\"", "duplicate key")]
#[case::very_many_axes(&format!("[layout]\n\"lm_head\" = \"{}\"", "a ".repeat(50_000)), "map.toml: lm_head")]
fn a_map_without_a_meaning_is_refused(#[case] text: &str, #[case] why: &str) {
    let folder = one("map.toml", text);
    let dump = stored(&[("input_ids.npy", &ids()), ("model.norm.npy", &zeros("<f4", &[1, 2, 128]))]);
    fs::write(folder.path().join("a.npz"), dump).unwrap();
    refused(folder.path(), &["run", "01", "--dump", "a.npz", "--map", "map.toml"], why);
}

#[rstest]
#[case::empty("", "old.json: ")]
#[case::list("[]", "old.json: ")]
#[case::another_program("{\"format\": \"\\u001b[2J\"}", "old.json: ")]
#[case::deep(&"[".repeat(100_000), "old.json: ")]
#[case::twice("{\"a\": 1, \"a\": 1}", "old.json: ")]
#[case::half_a_character("{\"format\": 1, \"tool\": \"\\udfff\"}", "old.json: ")]
#[case::format_1e300("{\"format\": 1e300}", "it has no `format`")]
#[case::spaces(&" ".repeat(70 << 20), "old.json: ")]
fn a_baseline_that_is_not_a_report_is_refused(#[case] text: &str, #[case] why: &str) {
    refused(one("old.json", text).path(), &["run", "01", "--baseline", "old.json"], why);
}
