//! Interrupted and killed runs never leave a half-written file, and the next run works normally.
#![cfg(unix)]

mod program;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use program::{home, rbees_in, stderr};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tempfile::TempDir;

/// A run of all checkpoints that writes a JSON and a JUnit report.
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

/// Waits until the run has printed something, so that it is in the middle of its work.
fn wait_for_the_first_byte(mut stream: impl Read) {
    stream.read_exact(&mut [0]).unwrap();
}

#[test]
fn an_interrupted_run_prints_one_line_and_leaves_no_files() {
    for threads in [&[][..], &["--threads", "1"]] {
        let (folder, home) = (home(), home());
        let mut child = start(&folder, &home, &[&ALL[..], threads].concat());
        wait_for_the_first_byte(child.stdout.as_mut().unwrap());
        signal(&child, "-INT");
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130));
        assert_eq!(stderr(&output), "interrupted: no file was written\n");
        assert_eq!((names(folder.path()), names(home.path())), (vec![], vec![]));
    }
}

#[test]
fn an_interrupted_generation_leaves_a_complete_verdict_file_or_none() {
    let (folder, home) = (home(), home());
    let verdicts = home.path().join("verdicts");
    let args = ["generate", "And the king", "--max-tokens", "400", "--temperature", "1", "-v"];

    let mut judging = start(&folder, &home, &args);
    wait_for_the_first_byte(judging.stderr.as_mut().unwrap());
    assert_eq!(interrupted(judging), "interrupted: no file was written");
    assert_eq!(names(&verdicts), [""; 0]);

    let mut speaking = start(&folder, &home, &args);
    wait_for_the_first_byte(speaking.stdout.as_mut().unwrap());
    let printed = interrupted(speaking);
    let [verdict] = &names(&verdicts)[..] else { panic!("{:?}", names(&verdicts)) };
    assert_eq!(printed, format!("interrupted: wrote {}", verdicts.join(verdict).display()));
    serde_json::from_slice::<Value>(&fs::read(verdicts.join(verdict)).unwrap()).unwrap();
}

/// Interrupts a run and returns the last line that it prints.
fn interrupted(child: Child) -> String {
    signal(&child, "-INT");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    stderr(&output).lines().last().unwrap().to_owned()
}

#[test]
fn a_run_killed_at_any_moment_leaves_complete_files_or_none() {
    let ids: Vec<&str> = ["run", "1", "1B", "--case", "short"].into_iter().chain(ALL[2..].to_vec()).collect();
    let (folder, home) = (home(), home());
    let began = Instant::now();
    assert!(start(&folder, &home, &ids).wait_with_output().unwrap().status.success());
    let whole = began.elapsed();
    let (json, xml) = (folder.path().join("r.json"), folder.path().join("r.xml"));
    let mut moments = StdRng::seed_from_u64(130);
    for _ in 0..10 {
        let _ = fs::remove_file(&json);
        let mut child = start(&folder, &home, &ids);
        thread::sleep(whole.mul_f64(moments.random_range(0.0..1.1)));
        let _ = child.kill();
        child.wait().unwrap();
        if let Ok(text) = fs::read(&json) {
            serde_json::from_slice::<Value>(&text).expect("a complete report");
        }
        roxmltree::Document::parse(&fs::read_to_string(&xml).unwrap())
            .expect("the old report or the new one");
    }
    assert!(start(&folder, &home, &ids).wait_with_output().unwrap().status.success());
    assert_eq!(names(folder.path()), ["r.json", "r.xml"], "the next run should remove leftover files");
}
