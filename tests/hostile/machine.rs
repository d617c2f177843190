//! What is not a regular file, and a machine without room.

use rstest::rstest;

use super::*;

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn device(path: &Path) {
    std::os::unix::fs::symlink("/dev/zero", path).unwrap();
}

fn folder(path: &Path) {
    fs::create_dir(path).unwrap();
}

fn loop_of_links(path: &Path) {
    std::os::unix::fs::symlink(path, path).unwrap();
}

/// Each reader, with the file in whose place something else is.
#[rstest]
#[case::gguf("model.gguf", &["inspect", "model.gguf"])]
#[case::config("config.json", &["inspect", "."])]
#[case::generation_config("generation_config.json", &["inspect", "."])]
#[case::weights("model.safetensors", &["inspect", "."])]
#[case::tokenizer("tokenizer.json", &["generate", "x", "--unchecked", "--model", "."])]
#[case::template("chat_template.jinja", &["generate", "x", "--chat", "--unchecked", "--model", "."])]
#[case::npz("dump.npz", &["run", "01", "--dump", "dump.npz"])]
#[case::safetensors("dump.safetensors", &["run", "01", "--dump", "dump.safetensors"])]
#[case::torch("dump.pt", &["run", "01", "--dump", "dump.pt"])]
#[case::map("map.toml", &["run", "01", "--dump", "dump.npz", "--map", "map.toml"])]
#[case::baseline("old.json", &["run", "01", "--baseline", "old.json"])]
#[case::settings("rbees-check.toml", &["run", "01"])]
fn what_is_not_a_regular_file_is_refused_without_waiting(
    #[case] name: &str,
    #[case] args: &[&str],
    #[values(pipe, device, folder, loop_of_links)] make: fn(&Path),
) {
    let place = linked(&[name]);
    make(&place.path().join(name));
    // A directory of this name is a directory of .npy files; an unreadable link is no file.
    refused(place.path(), args, "");
}

/// A file of a case, of a directory of arrays, of a model in parts.
#[rstest]
#[case::manifest("c/manifest.json", &["run", "01", "--case", "c"])]
#[case::reference("c/reference.npz", &["run", "01", "--case", "c"])]
#[case::noise("c/noise.npz", &["run", "01", "--case", "c"])]
#[case::array("d/model.norm.npy", &["run", "01", "--dump", "d"])]
#[case::index("model.safetensors.index.json", &["inspect", "."])]
#[case::weights("model.safetensors", &["inspect", "."])]
#[case::report("part.json", &["merge", "part.json"])]
#[case::against("b.npz", &["run", "01", "--dump", "d", "--against", "b.npz"])]
fn what_is_not_a_regular_file_is_named(
    #[case] name: &str,
    #[case] args: &[&str],
    #[values(pipe, device, loop_of_links)] make: fn(&Path),
) {
    let place = linked(&["model.safetensors"]);
    fs::create_dir(place.path().join("d")).unwrap();
    for (array, bytes) in
        [("input_ids", archives::ids()), ("model.norm", archives::zeros("<f4", &[1, 2, 128]))]
    {
        fs::write(place.path().join(format!("d/{array}.npy")), bytes).unwrap();
    }
    fs::create_dir(place.path().join("c")).unwrap();
    for file in ["manifest.json", "reference.npz", "noise.npz"] {
        fs::copy(fixtures("tiny-llama/single").join(file), place.path().join("c").join(file)).unwrap();
    }
    let _ = fs::remove_file(place.path().join(name));
    make(&place.path().join(name));
    refused(place.path(), args, &format!("{name}: "));
}

#[rstest]
#[case::very_many_threads("RAYON_NUM_THREADS=65536", 2)]
#[case::threads_are_text("RAYON_NUM_THREADS=x", 0)]
#[case::negative_threads("RAYON_NUM_THREADS=-1", 0)]
#[case::more_threads_than_numbers("RAYON_NUM_THREADS=99999999999999999999", 0)]
#[case::no_temporary_folder("TMPDIR=/no/such/folder", 0)]
#[case::home_moves_the_cursor("RBEES_HOME=$(printf '\\033[2J')/x", 0)]
#[case::columns("COLUMNS=99999999999", 0)]
fn an_odd_environment_does_not_stop_a_run(#[case] set: &str, #[case] exit: i32) {
    let folder = tempfile::tempdir().unwrap();
    let (code, stdout, stderr) =
        shell(folder.path(), &format!("export {set}; exec \"$0\" run 01 --case single"));
    assert_eq!(code, exit, "{stdout}{stderr}");
    assert!(!stderr.contains("panicked") && !stderr.contains('\u{1b}'), "{stderr}");
    assert!(exit == 0 || stderr.starts_with("error: ") && stderr.contains("\nhint: "), "{stderr}");
}

/// Runs `sh -c script`, in which `$0` is the program. Returns the exit code, stdout and stderr.
fn shell(folder: &Path, script: &str) -> (i32, String, String) {
    let output = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_rbees-check")])
        .current_dir(folder)
        .stdin(Stdio::null())
        .env("RBEES_HOME", folder.join("home"))
        .env("RAYON_NUM_THREADS", "2")
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// With little memory, a run passes or says that there was not enough.
#[rstest]
fn little_memory_ends_in_an_error_line(
    #[values(60_000, 90_000, 100_000, 110_000, 120_000, 130_000, 140_000, 160_000)] kilobytes: u32,
) {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, stderr) =
        shell(folder.path(), &format!("ulimit -v {kilobytes}; exec \"$0\" run 03 --case single"));
    let said = stderr.lines().filter(|line| line.starts_with("error: ")).count();
    // Below some limit, the system cannot even load the program.
    let started = !stderr.contains("error while loading") && code != 127 && code != 126;
    assert!(
        !started || code == 0 || (code == 2 && said >= 1 && stderr.contains("hint: ")),
        "{code} {stderr}"
    );
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[cfg(target_os = "linux")]
#[rstest]
#[case::text("\"$0\" run 01 --case single > /dev/full", "standard output: ")]
#[case::help("\"$0\" list > /dev/full", "standard output: ")]
#[case::inspect("\"$0\" inspect > /dev/full", "standard output: ")]
#[case::report("\"$0\" run 01 --case single --report json=/dev/full", "/dev/full: ")]
#[case::report_to_stdout("\"$0\" run 01 --case single --report json=- > /dev/full", "standard output: ")]
fn a_full_disk_ends_in_an_error_line(#[case] script: &str, #[case] why: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, stderr) = shell(folder.path(), script);
    assert!(code == 2 && stderr.contains(&format!("error: {why}")) | stderr.contains(why), "{code} {stderr}");
    assert!(stderr.contains("hint: ") && !stderr.contains("panicked"), "{stderr}");
}

#[rstest]
#[case::nothing_is_read("\"$0\" run 01 --case single | true")]
#[case::one_line("\"$0\" list | head -1 > /dev/null")]
#[case::stderr_is_closed("\"$0\" run 01 --case single 2>&-")]
#[case::both_are_closed("\"$0\" run 01 --case single >&- 2>&-")]
fn a_closed_stream_does_not_panic(#[case] script: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, stderr) = shell(folder.path(), script);
    assert!([0, 2].contains(&code) && !stderr.contains("panicked"), "{code} {stderr}");
}

#[rstest]
#[case::a_file("touch home")]
#[case::a_device("ln -s /dev/null home")]
#[case::a_loop("ln -s home home")]
fn a_home_that_cannot_be_used_does_not_stop_a_run(#[case] make: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (code, stdout, stderr) = shell(folder.path(), &format!("{make}; exec \"$0\" run 01 --case single"));
    assert!(code == 0 && stdout.contains("1 passed"), "{code} {stderr}");
    let (code, _, stderr) = shell(folder.path(), "exec \"$0\" run 01 --model smollm2-135m");
    assert!(code == 2 && stderr.contains("error: ") && stderr.contains("hint: "), "{code} {stderr}");
}

/// Both judge the path, and store the verdict in the same file.
#[test]
fn two_runs_at_once_share_one_home() {
    let folder = tempfile::tempdir().unwrap();
    let generate = "\"$0\" generate 'And the king' --max-tokens 4 --model tiny-llama2";
    let (code, stdout, stderr) =
        shell(folder.path(), &format!("{generate} > a & {generate} > b; first=$?; wait $! && exit $first"));
    assert_eq!(code, 0, "{stdout} {stderr}");
    let text = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(text("a") == text("b") && text("a").len() > 12);
    let unfinished = fs::read_dir(folder.path().join("home/verdicts")).unwrap();
    let names: Vec<String> = unfinished.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.len() == 1 && names[0].ends_with(".json"), "{names:?}");
}
