//! Runs the real binary as a user would, with a fresh home directory, no terminal and no colour.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A command that runs the binary with these arguments in `folder`. The home is empty unless a test fills it.
pub fn rbees_in(folder: &Path, home: &TempDir, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rbees-check"));
    command
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .env("RBEES_HOME", home.path())
        .env("COLUMNS", "100");
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"] {
        command.env_remove(name);
    }
    command
}

/// The same, run in `/`.
pub fn rbees(home: &TempDir, args: &[&str]) -> Command {
    rbees_in(Path::new("/"), home, args)
}

pub fn ran(args: &[&str]) -> Output {
    rbees(&home(), args).output().unwrap()
}

pub fn home() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The whole output of a run in `/`, with values that differ between machines masked.
pub fn printed(args: &[&str]) -> String {
    printed_in(Path::new("/"), args)
}

/// The same, run in `folder`.
pub fn printed_in(folder: &Path, args: &[&str]) -> String {
    let output = rbees_in(folder, &home(), args).output().unwrap();
    let mut text = masked(&stdout(&output), "% of budget");
    let stderr = stderr(&output);
    if !stderr.is_empty() {
        text += &format!("--- stderr\n{stderr}");
    }
    text + &format!("--- exit {}\n", output.status.code().unwrap())
}

/// Runs in `folder` and writes `r.json` and `r.xml` there. Returns the exit code and both reports.
pub fn reported(folder: &Path, args: &[&str]) -> (i32, serde_json::Value, String) {
    let args = [&["run"], args, &["--report", "json=r.json", "--report", "junit=r.xml"]].concat();
    let output = rbees_in(folder, &home(), &args).output().unwrap();
    let json = fs::read(folder.join("r.json")).unwrap_or_else(|_| panic!("{}", stderr(&output)));
    let xml = fs::read_to_string(folder.join("r.xml")).unwrap();
    (output.status.code().unwrap(), serde_json::from_slice(&json).unwrap(), xml)
}

/// Replaces each number right before `unit` by `..`.
pub fn masked(text: &str, unit: &str) -> String {
    let (mut parts, mut done) = (text.split(unit).collect::<Vec<_>>(), String::new());
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        done += part.trim_end_matches(|c: char| c.is_ascii_digit());
        done += &format!("..{unit}");
    }
    done + last
}

/// Writes a copy of tiny-llama to the folder `into`, with the wrong rope θ 10000.
pub fn wrong_theta(into: &Path) {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-llama");
    fs::create_dir_all(into).unwrap();
    for file in ["generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        fs::copy(fixture.join(file), into.join(file)).unwrap();
    }
    let config = fs::read_to_string(fixture.join("config.json")).unwrap();
    let wrong = config.replace("30000.0", "10000.0");
    assert_ne!(config, wrong);
    fs::write(into.join("config.json"), wrong).unwrap();
}
