//! Files and arguments that were made to do harm. Each one ends with exit code 2, one line that says what is wrong, and
//! one hint; within one second of processor time and 300 MB of memory; without text of the file that could move the
//! cursor. `SECURITY.md` says what the program promises about such files.
#![cfg(target_os = "linux")]

#[path = "../fixture/mod.rs"]
mod fixture;
#[path = "../made/mod.rs"]
mod made;

mod archives;
mod arguments;
mod configs;
mod ggufs;
mod machine;
mod parts;
mod recordings;
mod references;
mod shards;
mod templates;
mod texts;
mod tokenizers;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::{NamedTempFile, TempDir};

/// Kilobytes of address space that the program may use. The allocator reserves more than it uses.
const SPACE: u64 = 600_000;

/// Kilobytes of memory that it may use.
const MEMORY: u64 = 300_000;

/// Seconds of processor time.
const SECONDS: f64 = 1.0;

/// Seconds after which a run is ended that waits for something.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest accepted output on stderr, in bytes.
const LONGEST: usize = 2_000;

/// What a run printed, how it ended, and what it took.
struct Run {
    code: i32,
    stdout: String,
    stderr: String,
    seconds: f64,
    kilobytes: u64,
}

/// Runs the program in `folder` with limits.
fn run(folder: &Path, args: &[impl AsRef<OsStr>]) -> Run {
    let (home, [out, err]) = (tempfile::tempdir().unwrap(), [(); 2].map(|()| NamedTempFile::new().unwrap()));
    let mut child = Command::new("sh")
        .args(["-c", &format!("ulimit -v {SPACE}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_rbees-check")])
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(out.reopen().unwrap())
        .stderr(err.reopen().unwrap())
        .env("RBEES_HOME", home.path())
        .env("RAYON_NUM_THREADS", "2")
        .env_remove("RUST_BACKTRACE")
        .spawn()
        .unwrap();
    let (start, mut kilobytes) = (Instant::now(), 0);
    // A process that has ended keeps its times until it is waited for.
    let seconds = loop {
        kilobytes = kilobytes.max(peak(child.id()));
        match processor_time(child.id()) {
            Some((true, seconds)) => break seconds,
            Some(_) if start.elapsed() < PATIENCE => sleep(Duration::from_millis(2)),
            _ => {
                child.kill().unwrap();
                break f64::INFINITY;
            }
        }
    };
    let code = child.wait().unwrap().code().unwrap_or(-1);
    let text = |file: NamedTempFile| String::from_utf8(fs::read(file.path()).unwrap()).unwrap();
    Run { code, stdout: text(out), stderr: text(err), seconds, kilobytes }
}

/// Whether a process has ended, and the seconds of processor time that it took.
fn processor_time(id: u32) -> Option<(bool, f64)> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields[11].parse::<f64>().ok()? + fields[12].parse::<f64>().ok()?;
    // A hundredth of a second on every Linux.
    Some((fields[0] == "Z", ticks / 100.0))
}

/// The most memory that a process has used so far, in kilobytes.
fn peak(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// Checks that the program refuses, with `why` in its line.
fn refused(folder: &Path, args: &[impl AsRef<OsStr>], why: &str) {
    let Run { code, stdout, stderr, seconds, kilobytes } = run(folder, args);
    let shown = format!("exit {code} after {seconds} s with {kilobytes} kB\n{stdout:.3000}\n{stderr:.3000}");
    assert_eq!(code, 2, "{shown}");
    let lines: Vec<&str> = stderr.lines().filter(|line| !line.starts_with("note: ")).collect();
    let [error, hint] = lines[..] else { panic!("not one line and one hint: {shown}") };
    assert!(error.starts_with("error: ") && error.contains(why), "no `{why}`: {shown}");
    assert!(hint.starts_with("hint: ") && hint.len() > "hint: ".len(), "{shown}");
    assert!(!stdout.contains("checkpoints: "), "{shown}");
    let control = |c: char| c.is_control() && c != '\n' || ('\u{202a}'..='\u{202e}').contains(&c);
    assert!(!stdout.contains(control) && !stderr.contains(control), "{shown:?}");
    assert!(stderr.len() <= LONGEST, "{} bytes: {shown}", stderr.len());
    assert!(seconds <= SECONDS && kilobytes <= MEMORY, "{shown}");
}

/// A folder of `tests`, in the repository.
fn fixtures(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(path)
}

/// A directory with links to the files of tiny-llama, except for those in `without`.
fn linked(without: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ] {
        if !without.contains(&file) {
            std::os::unix::fs::symlink(fixtures("tiny-llama").join(file), folder.path().join(file)).unwrap();
        }
    }
    folder
}

/// A directory with one file.
fn one(name: &str, content: impl AsRef<[u8]>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(name), content).unwrap();
    folder
}

#[test]
fn the_limits_are_enough_for_a_run_that_passes() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path(), &["run", "01", "--case", "single"]);
    assert!(run.code == 0 && run.stdout.contains("1 passed"), "{}{}", run.stdout, run.stderr);
}
