//! Interrupted and killed runs: nothing half-written is ever seen, and the next run is a whole one.
#![cfg(unix)]

mod program;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use program::{home, rbees_in, stderr};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;

/// Everything that a run may write, and everything that it judges.
const ALL: [&str; 6] = ["run", "all", "--report", "json=r.json", "--report", "junit=r.xml"];

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn start(folder: &TempDir, home: &TempDir, args: &[&str]) -> Child {
    let mut command = rbees_in(folder.path(), home, args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

/// Waits until the run has printed its first line: it is in the middle of judging.
fn wait_for_the_first_line(child: &mut Child) {
    let mut byte = [0];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut byte).unwrap();
}

#[test]
fn an_interrupted_run_says_so_in_one_line_and_leaves_nothing() {
    for threads in [&[][..], &["--threads", "1"]] {
        let (folder, home) = (home(), home());
        let mut child = start(&folder, &home, &[&ALL[..], threads].concat());
        wait_for_the_first_line(&mut child);
        signal(&child, "-INT");
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130));
        assert_eq!(stderr(&output), "interrupted: no file was written\n");
        assert_eq!((names(folder.path()), names(home.path())), (vec![], vec![]));
    }
}

#[test]
fn an_interrupted_generation_remembers_no_verdict() {
    let (folder, home) = (home(), home());
    let args = ["generate", "And the king", "--max-tokens", "100000", "--temperature", "1", "-v"];
    let child = start(&folder, &home, &args);
    thread::sleep(Duration::from_millis(120));
    signal(&child, "-INT");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    let last = stderr(&output).lines().last().unwrap().to_owned();
    assert!(last.starts_with("interrupted: "), "{last}");
    for verdict in names(&home.path().join("verdicts")) {
        let text = fs::read(home.path().join("verdicts").join(&verdict)).unwrap();
        serde_json::from_slice::<serde_json::Value>(&text).unwrap();
        assert!(last.contains(&verdict), "{last}");
    }
}

#[test]
fn a_run_killed_at_any_moment_leaves_whole_files_or_none() {
    const IDS: [&str; 7] = ["run", "1", "1B", "--report", "json=r.json", "--report", "junit=r.xml"];
    let (folder, home) = (home(), home());
    let began = Instant::now();
    assert!(start(&folder, &home, &IDS).wait_with_output().unwrap().status.success());
    let whole = began.elapsed();
    let (json, xml) = (folder.path().join("r.json"), folder.path().join("r.xml"));
    let mut moments = StdRng::seed_from_u64(130);
    for _ in 0..10 {
        let _ = fs::remove_file(&json);
        let mut child = start(&folder, &home, &IDS);
        thread::sleep(whole.mul_f64(moments.random_range(0.0..1.1)));
        let _ = child.kill();
        child.wait().unwrap();
        if let Ok(text) = fs::read(&json) {
            serde_json::from_slice::<serde_json::Value>(&text).expect("a whole report");
        }
        roxmltree::Document::parse(&fs::read_to_string(&xml).unwrap()).expect("the old report or the new");
    }
    assert!(start(&folder, &home, &IDS).wait_with_output().unwrap().status.success());
    assert_eq!(names(folder.path()), ["r.json", "r.xml"], "the next run clears up");
}
