//! Arguments and paths.

use rstest::rstest;

use super::*;

#[rstest]
#[case::threads(&["run", "01", "--threads", "9999"], "--threads 9999")]
#[case::all_threads(&["run", "01", "--threads", "65535"], "--threads 65535")]
#[case::checkpoint(&["run", "03\u{1b}[2J"], "03\\u{1b}[2J")]
#[case::long_checkpoint(&["run", &"x".repeat(100_000)], "xxx")]
#[case::long_case(&["run", "--case", &"x".repeat(100_000)], "xxx")]
#[case::long_mistake(&["explain", &"x".repeat(100_000)], "xxx")]
#[case::model(&["inspect", "no\u{1b}]0;x\u{7}"], "\\u{1b}")]
#[case::long_model(&["inspect", &"x".repeat(100_000)], "xxx")]
#[case::empty_model(&["inspect", ""], "")]
#[case::model_is_a_device(&["inspect", "/dev/zero"], "/dev/zero: ")]
#[case::model_is_root(&["inspect", "/"], "")]
#[case::dump_is_a_device(&["run", "--dump", "/dev/zero"], "/dev/zero: ")]
#[case::dump_is_stdin(&["run", "--dump", "/dev/stdin"], "/dev/stdin")]
#[case::dump_is_empty(&["run", "--dump", ""], "")]
#[case::references_are_a_device(&["run", "--references", "/dev/null"], "/dev/null")]
#[case::device(&["run", "--device", "cuda:99999999999999999999"], "cuda")]
#[case::report_in_no_folder(&["run", "--report", "json=no/such/folder/r.json"], "no/such/folder/r.json")]
#[case::report_is_a_folder(&["run", "--report", "json=."], "--report .")]
#[case::baseline_is_a_device(&["run", "--baseline", "/dev/zero"], "/dev/zero: is not a regular file")]
#[case::map_is_a_device(&["run", "--dump", "a.npz", "--map", "/dev/zero"], "/dev/zero: is not a regular file")]
#[case::temperature(&["generate", "x", "--unchecked", "--temperature=nan"], "temperature")]
#[case::top_p(&["generate", "x", "--unchecked", "--top-p=2"], "top-p")]
#[case::top_k(&["generate", "x", "--unchecked", "--top-k=0"], "top-k")]
#[case::repetition(&["generate", "x", "--unchecked", "--repetition-penalty=0"], "repetition")]
#[case::long_prompt(&["generate", &"the ".repeat(20_000), "--unchecked"], "context")]
fn an_impossible_argument_is_refused(#[case] args: &[&str], #[case] why: &str) {
    refused(tempfile::tempdir().unwrap().path(), args, why);
}
