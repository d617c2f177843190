//! Finds the commit that a release build is made from, for `rbees-check --version -v`. Debug builds do not record it,
//! so that a commit alone does not compile everything again.

use std::fs;
use std::process::Command;

/// What decides what is compiled.
const SOURCES: [&str; 6] = ["build.rs", "src", "checkpoints", "fixtures", "Cargo.toml", "Cargo.lock"];

fn main() {
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    println!("cargo::rerun-if-changed=build.rs");
    let commit = if release {
        packaged().or_else(checked_out).unwrap_or_else(|| "unknown".into())
    } else {
        "not recorded in a debug build".into()
    };
    println!("cargo::rustc-env=RBEES_COMMIT={commit}");
}

/// The commit that cargo wrote into the package.
fn packaged() -> Option<String> {
    let text = fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let (_, rest) = text.split_once("\"sha1\": \"")?;
    Some(rest.split_once('"')?.0.to_owned())
}

/// The commit of this folder, if it is the root of a repository of git.
fn checked_out() -> Option<String> {
    let prefix = git(&["rev-parse", "--show-prefix"])?;
    if !prefix.is_empty() {
        return None;
    }
    let commit = git(&["rev-parse", "HEAD"])?;
    // Git appends to this file at each commit and checkout.
    println!("cargo::rerun-if-changed={}", git(&["rev-parse", "--git-path", "logs/HEAD"])?);
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
    }
    let changed = git(&[&["status", "--porcelain", "--"], SOURCES.as_slice()].concat())?;
    Some(if changed.is_empty() { commit } else { format!("{commit}, with changes") })
}

/// The output of a command of git, or `None` if it fails or there is no git.
fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
