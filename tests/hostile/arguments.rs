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
#[case::long_prompt_to_record(&["record", "--prompt", &"the ".repeat(20_000), "-o", "out"], "the context of this model has 1024")]
#[case::long_prompt_for_the_oracle(&["run", "01", "--reference", "oracle", "--prompt", &"the ".repeat(20_000)], "the context of this model has 1024")]
#[case::long_prompt_to_stream(&["run", "01", "--stream", "--reference", "oracle", "--prompt", &"the ".repeat(20_000)], "the context of this model has 1024")]
#[case::empty_prompt_to_record(&["record", "--prompt", "", "-o", "out"], "the prompt has no tokens")]
#[case::prompt_beside_a_recording(&["run", "01", "--dump", "a.npz", "--prompt", "a"], "--prompt")]
#[case::prompt_beside_a_case(&["run", "01", "--case", "single", "--prompt", "a"], "--prompt")]
#[case::stream_beside_a_recording(&["run", "01", "--dump", "a.npz", "--stream"], "--stream")]
#[case::record_to_no_folder(&["record", "--prompt", "a", "-o", "no/such/out"], "no/such/out")]
#[case::record_to_a_device(&["record", "--prompt", "a", "-o", "/dev/full"], "/dev/full: already exists")]
#[case::record_to_the_system(&["record", "--prompt", "a", "-o", "/proc/out"], "/proc/out: ")]
#[case::record_to_a_long_name(&["record", "--prompt", "a", "-o", &"n".repeat(300)], "nnn: File name too long")]
#[case::bundle_of_a_long_name(&["run", "01", "--case", "single", "--bundle", &"n".repeat(300)], "nnn: File name too long")]
#[case::bundle_in_no_folder(&["run", "01", "--bundle", "/proc/no/b.zip"], "/proc/no/b.zip")]
#[case::two_reports_in_one_file(&["run", "01", "--report", "json=a", "--report", "html=./a"], "two reports go to")]
#[case::report_of_another_kind(&["run", "01", "--report", "p\u{1b}df=a"], "is not a report format")]
#[case::part_0(&["run", "01", "--shard", "0/2", "--report", "json=r"], "with K from 1 to N")]
#[case::part_beyond(&["run", "01", "--shard", "3/2", "--report", "json=r"], "with K from 1 to N")]
#[case::very_many_parts(&["run", "01", "--case", "single", "--shard", "1/99999999999", "--report", "json=r"], "at most 7 parts")]
#[case::part_of_2_pow_64(&["run", "01", "--shard", "1/18446744073709551616", "--report", "json=r"], "with K from 1 to N")]
#[case::no_stop(&["generate", "x", "--unchecked", "--stop", ""], "must not be empty")]
#[case::bias_of_no_token(&["generate", "x", "--unchecked", "--logit-bias", "99999=1"], "99999")]
#[case::bias_nan(&["generate", "x", "--unchecked", "--logit-bias", "1=nan"], "NaN")]
#[case::temperature_infinite(&["generate", "x", "--unchecked", "--temperature", "inf"], "inf is not allowed")]
#[case::recording_of_memory(&["run", "--dump", "/proc/self/mem"], "/proc/self/mem")]
#[case::model_is_a_folder_of_devices(&["inspect", "/dev"], "/dev/config.json")]
#[case::no_report_to_merge(&["merge", "no.json"], "no.json")]
#[case::merge_a_device(&["merge", "/dev/zero"], "/dev/zero: is not a regular file")]
#[case::merge_a_folder(&["merge", "."], "is not a regular file")]
fn an_impossible_argument_is_refused(#[case] args: &[&str], #[case] why: &str) {
    refused(tempfile::tempdir().unwrap().path(), args, why);
}

/// Arguments of programs are bytes, and need not be text.
#[cfg(unix)]
#[rstest]
#[case::prompt(&["generate", "--unchecked"], "invalid UTF-8")]
#[case::prompt_to_record(&["record", "-o", "out", "--prompt"], "invalid UTF-8")]
#[case::checkpoint(&["run"], "invalid UTF-8")]
#[case::recording(&["run", "01", "--dump"], "\u{fffd}\u{fffd}")]
#[case::map(&["run", "01", "--dump", "a.npz", "--map"], "\u{fffd}\u{fffd}")]
#[case::baseline(&["run", "01", "--baseline"], "\u{fffd}\u{fffd}")]
fn an_argument_that_is_not_utf_8_is_refused(#[case] args: &[&str], #[case] why: &str) {
    use std::os::unix::ffi::OsStrExt;
    let args: Vec<&OsStr> = args.iter().map(OsStr::new).chain([OsStr::from_bytes(b"\xff\xfe")]).collect();
    refused(tempfile::tempdir().unwrap().path(), &args, why);
}

#[test]
fn a_record_does_not_replace_what_is_there() {
    let folder = one("file", b"");
    std::os::unix::fs::symlink("loop", folder.path().join("loop")).unwrap();
    for name in ["file", "loop", "."] {
        refused(folder.path(), &["record", "--prompt", "a", "-o", name], "already exists");
    }
    refused(folder.path(), &["record", "--prompt", "a", "-o", "file/out"], "Not a directory");
}
