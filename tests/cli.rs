//! The command line as a user sees it. Every test runs the real binary from `/` with a fresh home directory.

mod program;

use std::process::Stdio;

use insta::assert_snapshot;
use program::{home, printed, ran, rbees, rbees_in, stderr, stdout, wrong_theta};
use rstest::rstest;

#[rstest]
#[case("all", &[])]
#[case("run", &["run"])]
#[case("list", &["list"])]
#[case("explain", &["explain"])]
#[case("generate", &["generate"])]
#[case("inspect", &["inspect"])]
#[case("bench", &["bench"])]
#[case("bench-ops", &["bench", "ops"])]
#[case("completions", &["completions"])]
fn the_help_text_matches_its_snapshot(#[case] name: &str, #[case] verb: &[&str]) {
    assert_snapshot!(format!("help-{name}"), printed(&[verb, &["--help"]].concat()));
}

#[test]
fn version_prints_the_package_version() {
    assert_eq!(stdout(&ran(&["--version"])), format!("rbees-check {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn list_shows_models_checkpoints_mistakes_and_devices() {
    let printed = printed(&["list"]);
    // Which devices are available depends on the machine and the build.
    let (list, devices) = printed.split_once("\ndevices\n").unwrap();
    assert_snapshot!("list", list);
    assert!(devices.contains("cpu ") && devices.contains("cuda ") && devices.contains("metal "), "{devices}");
}

#[rstest]
fn explain_prints_its_text_or_the_closest_name(
    #[values("00", "00B", "03", "04", "06", "08", "09", "rope-pairing", "tie-break", "rope-paring")] id: &str,
) {
    assert_snapshot!(format!("explain-{id}"), printed(&["explain", id]));
}

#[rstest]
#[case("03", &["03", "attention"])]
#[case("01B", &["1B", "CHECKPOINT_01B_ROPE"])]
fn a_checkpoint_can_be_run_by_id_name_or_constant(#[case] id: &str, #[case] names: &[&str]) {
    for name in names {
        assert_snapshot!(format!("run-{id}"), printed(&["run", name, "--case", "short"]));
    }
}

#[test]
fn after_all_checkpoints_pass_the_model_generates_text() {
    let output = ran(&["run", "all", "--model", "tiny-llama2"]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    assert_eq!(text.lines().last(), Some("checkpoints: 12 passed, 0 failed, 0 skipped"));
    assert!(text.contains("And the king said unto") && text.contains(" tokens/s"), "{text}");
    assert_eq!(stderr(&output), "");
}

#[rstest]
#[case("run-3x", &["run", "3x"])]
#[case("run-rop", &["run", "rop"])]
#[case("run-nonsense", &["run", "zzz"])]
#[case("unknown-model", &["run", "--model", "tiny-lama"])]
#[case("not-a-model", &["inspect", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])]
#[case("not-fetched", &["run", "--model", "smollm2-135m"])]
#[case("unknown-case", &["run", "--case", "shirt"])]
#[case("unknown-device", &["run", "--device", "tpu"])]
#[case("quantized", &["run", "--matmul", "quantized"])]
#[case("no-template", &["generate", "x", "--chat", "--model", "tiny-llama2"])]
#[case("nothing-to-continue", &["generate", "", "--unchecked"])]
#[case("no-such-temperature", &["generate", "x", "--temperature=-1"])]
fn an_impossible_request_prints_an_error_and_a_hint(#[case] name: &str, #[case] args: &[&str]) {
    let text = printed(args).replace(env!("CARGO_MANIFEST_DIR"), "…");
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        matches!(&lines[..], ["--- stderr", error, hint, "--- exit 2"]
        if error.starts_with("error: ") && hint.starts_with("hint: ")),
        "{text}"
    );
    assert_snapshot!(name, text);
}

#[test]
fn a_wrong_theta_fails_the_rope_checkpoint_first() {
    let folder = home();
    wrong_theta(folder.path());
    let path = folder.path().to_str().unwrap();
    let args = ["run", "00", "1", "1B", "2", "6", "9", "--model", path, "--references", "tiny-llama"];
    assert_snapshot!("wrong-theta", printed(&args).replace(path, "<folder>"));
}

#[test]
fn the_rerun_command_of_a_failure_repeats_every_flag() {
    let folder = home();
    let path = folder.path().join("a model");
    wrong_theta(&path);
    let path = path.to_str().unwrap();
    let args =
        ["--dtype", "f16", "--case", "short", "--feed", "site", "--attention", "plain", "--matmul", "dense"];
    let printed =
        printed(&[&["run", "1B", "--model", path, "--references", "tiny-llama"], &args[..]].concat());
    let again = printed.lines().find_map(|line| line.trim_start().strip_prefix("rerun      ")).unwrap();
    let flags = "--dtype f16 --case short --feed site --attention plain --matmul dense";
    let line = format!("rbees-check run 01B --model '{path}' --references tiny-llama {flags} -v");
    assert!(again.starts_with(&line), "{again}");
}

/// Of two equal keys, serde_json and Python take the last one. Other readers take the first.
#[rstest]
#[case::config("config.json", "{", "{\"rms_norm_eps\": 1e-6,", &["run", "1"])]
// Numbers can be judged without a tokenizer, but texts cannot be generated.
#[case::tokenizer("tokenizer.json", "\"model\": {", "\"model\": {\"type\": \"BPE\",", &["generate", "Hi"])]
fn a_model_file_with_a_duplicate_key_ends_in_exit_code_2(
    #[case] name: &str,
    #[case] old: &str,
    #[case] new: &str,
    #[case] args: &[&str],
) {
    let folder = home();
    let model = folder.path().join("model");
    wrong_theta(&model);
    let text = std::fs::read_to_string(model.join(name)).unwrap();
    assert!(text.contains(old));
    std::fs::write(model.join(name), text.replacen(old, new, 1)).unwrap();
    let args = [args, &["--model", "model", "--references", "tiny-llama"]].concat();
    let output = rbees_in(folder.path(), &home(), &args).output().unwrap();
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(2), ""));
    let text = stderr(&output);
    assert!(text.starts_with(&format!("error: model/{name}: duplicate key \"")), "{text}");
    assert!(text.lines().count() == 2 && text.contains("\nhint: "), "{text}");
}

#[cfg(not(feature = "cuda"))]
#[test]
fn requesting_cuda_in_a_build_without_it_is_an_error() {
    assert_snapshot!("no-cuda", printed(&["run", "--device", "cuda"]));
}

#[test]
fn a_folder_can_be_given_as_a_case_and_checkpoints_it_cannot_judge_are_listed_as_skipped() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny-llama/single");
    let run = |flag: &str| printed(&["run", "00", "01", "08", "09", flag, folder]);
    assert_snapshot!("case-from-a-folder", run("--case"));
    assert_eq!(run("--references"), run("--case"));
}

#[test]
fn the_same_seed_generates_the_same_text_and_another_seed_a_different_one() {
    let say = |seed: &str| {
        let output = ran(&["generate", "And the king", "--unchecked", "--max-tokens", "24", "--seed", seed]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stdout(&output)
    };
    let text = say("1611");
    assert!(text.starts_with("And the king") && text.len() > "And the king".len() + 10, "{text}");
    assert_eq!((say("1611"), say("1611")), (text.clone(), text.clone()));
    assert_ne!(say("1612"), text);
}

#[test]
fn generate_judges_each_path_once_and_reuses_the_stored_verdict() {
    let home = home();
    let say = |extra: &[&str]| {
        let args =
            [&["generate", "And the king", "--model", "tiny-llama2", "--max-tokens", "4", "-v"], extra]
                .concat();
        let output = rbees(&home, &args).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        (stdout(&output), stderr(&output).contains("PASS  09"))
    };
    let (first, judged) = say(&[]);
    assert!(judged);
    assert_eq!(say(&[]), (first.clone(), false));
    assert!(say(&["--attention", "fused"]).1, "another path needs its own verdict");
    for verdict in std::fs::read_dir(home.path().join("verdicts")).unwrap() {
        std::fs::write(verdict.unwrap().path(), "{").unwrap();
    }
    assert_eq!(say(&[]), (first, true), "a damaged verdict is not reused");
}

#[test]
fn a_model_without_references_generates_after_the_own_oracle_unless_stored_references_are_required() {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny-llama/gguf/tiny-llama-q4_0.gguf");
    let args = ["generate", "And God said", "--max-tokens", "4", "--model", model];
    let output = ran(&args);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output).lines().filter(|line| line.starts_with("own: ")).count(), 1);
    let strict = ran(&[&args[..], &["--require-checks"]].concat());
    assert_eq!((strict.status.code(), stdout(&strict).as_str()), (Some(2), ""));
}

#[test]
fn inspect_prints_config_tokenizer_and_tensors() {
    assert_snapshot!("inspect", printed(&["inspect", "tiny-llama2"]));
}

#[test]
fn verbose_inspect_lists_every_tensor() {
    assert_snapshot!("inspect-verbose", printed(&["inspect", "tiny-llama2", "-v"]));
}

/// An escape sequence in a file must not reach the terminal.
#[test]
fn inspect_escapes_tensor_names() {
    let folder = home();
    wrong_theta(folder.path());
    let file = folder.path().join("model.safetensors");
    let whole = std::fs::read(&file).unwrap();
    let (length, rest) = whole.split_first_chunk::<8>().unwrap();
    let (header, values) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let mut header: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(header).unwrap();
    let at = values.len();
    let odd = serde_json::json!({"dtype": "F32", "shape": [1], "data_offsets": [at, at + 4]});
    header.insert("\u{1b}[2J\nforged".into(), odd);
    let header = serde_json::to_vec(&header).unwrap();
    let length = (header.len() as u64).to_le_bytes();
    std::fs::write(&file, [&length[..], &header, values, &[0; 4]].concat()).unwrap();
    for flags in [&[][..], &["-v"]] {
        let output = rbees_in(folder.path(), &home(), &[&["inspect", "."], flags].concat()).output().unwrap();
        let text = stdout(&output);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let line = text.lines().last().unwrap();
        assert!(line.starts_with("  \\u{1b}[2J\\nforged ") && line.contains("unexpected: "), "{text}");
    }
}

#[rstest]
#[case::bash("bash", "complete -F _rbees__check ")]
#[case::zsh("zsh", "#compdef rbees-check\n")]
#[case::fish("fish", "complete -c rbees-check ")]
#[case::powershell("powershell", "Register-ArgumentCompleter -Native -CommandName 'rbees-check'")]
#[case::elvish("elvish", "set edit:completion:arg-completer[rbees-check] = ")]
fn completion_scripts_contain_the_commands_and_flags(#[case] shell: &str, #[case] line: &str) {
    let output = ran(&["completions", shell]);
    let script = stdout(&output);
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    assert!(script.contains(line), "{script}");
    let verbs = ["run", "list", "explain", "generate", "inspect", "selftest", "completions"];
    let flags = ["require-all", "top-logprobs", "bundle"];
    assert!(verbs.iter().chain(&flags).all(|word| script.contains(word)), "{script}");
}

#[test]
fn an_unknown_shell_is_refused_with_a_list_of_the_known_ones() {
    let output = ran(&["completions", "tcsh"]);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(2), ""));
    assert!(stderr(&output).contains("[possible values: bash, elvish, fish, powershell, zsh]"));
}

#[test]
fn output_is_coloured_only_on_request() {
    let args = ["run", "01", "--case", "single"];
    assert!(!stdout(&ran(&args)).contains('\x1b'));
    assert!(stdout(&ran(&[&args[..], &["--color", "always"]].concat())).contains('\x1b'));
    let forced = rbees(&home(), &args).env("CLICOLOR_FORCE", "1").output().unwrap();
    assert!(stdout(&forced).contains('\x1b'));
    let never = rbees(&home(), &args).env("NO_COLOR", "1").output().unwrap();
    assert!(!stdout(&never).contains('\x1b'));
}

#[test]
fn running_with_one_thread_keeps_the_exit_code() {
    let args = ["run", "01", "--case", "single", "--threads", "1"];
    assert_eq!(stdout(&ran(&args)).lines().last(), Some("checkpoints: 1 passed, 0 failed, 0 skipped"));
    assert_eq!(ran(&["run", "3x", "--threads", "1"]).status.code(), Some(2));
}

#[test]
fn a_closed_stdout_does_not_panic() {
    let mut child = rbees(&home(), &["list"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}

/// Another program has CUDA. It gets the same arguments, and its exit code is the command's.
#[cfg(unix)]
#[rstest]
#[case::runs("echo \"$@\"", "run 01 --device cuda:1\n", "", 0)]
#[case::fails("[ \"$1\" = --version ] || exit 7", "", "", 7)]
#[case::library(
    "echo \"$0: error while loading shared libraries: libcudart.so.13: cannot open it\" >&2; exit 127",
    "",
    "needs the library libcudart.so.13, which is not found\nhint: put the folder of CUDA 13's libraries on ",
    2
)]
#[case::driver(
    "echo \"$0: error while loading shared libraries: libcuda.so.1: cannot open it\" >&2; exit 127",
    "",
    "needs the library libcuda.so.1, which is not found\nhint: it is part of NVIDIA's driver",
    2
)]
fn device_cuda_runs_the_program_that_has_it_or_says_what_is_missing(
    #[case] script: &str,
    #[case] printed: &str,
    #[case] explained: &str,
    #[case] code: i32,
) {
    use std::os::unix::fs::PermissionsExt;

    let folder = home();
    let program = folder.path().join("rbees-check-cuda");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = rbees(&folder, &["run", "01", "--device", "cuda:1"]);
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let output = command.env("PATH", path).output().unwrap();
    assert_eq!(stdout(&output), printed, "{}", stderr(&output));
    assert!(stderr(&output).contains(explained), "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(code));
}

#[test]
fn device_cuda_without_a_program_that_has_it_says_how_to_build_it() {
    let output =
        rbees(&home(), &["run", "01", "--device", "cuda"]).env("PATH", "/usr/bin:/bin").output().unwrap();
    let text = stderr(&output);
    assert!(
        text.contains(
            "there is no rbees-check-cuda beside it or on PATH\nhint: build it with scripts/build_cuda.sh"
        ),
        "{text}"
    );
    assert_eq!(output.status.code(), Some(2));
}

/// The operations that only move numbers have no known defect, apart from the rounding of float64.
#[test]
fn bench_ops_prints_a_summary_per_operation_and_dtype() {
    let output = ran(&["bench", "ops", "--quick", "--only", "cat", "--only", "contiguous"]);
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    assert_eq!(text.lines().last(), Some("operations: 24 right, 0 known defects, 0 new defects, 0 stale"));
    let json = ran(&["bench", "ops", "--quick", "--only", "cast", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((report["format"].as_u64(), report["rows"].as_array().unwrap().len()), (Some(1), 60));
    let unknown = ran(&["bench", "ops", "--only", "rms_nrom"]);
    assert!(stderr(&unknown).contains("hint: did you mean `rms_norm`?"), "{}", stderr(&unknown));
}

#[test]
fn bench_prints_the_speed_of_a_model_and_its_distance_from_the_machine() {
    let args =
        ["bench", "--model", "tiny-llama2", "--prompt-tokens", "16", "--new-tokens", "4", "--runs", "1"];
    let text = stdout(&ran(&args));
    for part in ["prefill", "decode", "tokens/s", "GB/s from memory", "self_attn.q_proj"] {
        assert!(text.contains(part), "{text}");
    }
    let json = ran(&[&args[..], &["--json"]].concat());
    let speeds: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert!(speeds["prefill"]["tokens_per_second"].as_f64().unwrap() > 0.0);
    assert!(speeds["peak_memory"].as_u64().unwrap() > 1 << 20);
}
