//! Runs the program on recordings, and checks what it recognises.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tempfile::tempdir;

use crate::program::{home, rbees_in, stderr, stdout};
use crate::recorded::{Arrays, write, write_stating};

/// The output of a run.
pub struct Run {
    pub text: String,
    pub code: i32,
}

/// Metadata: keys and values.
pub type Stated<'a> = &'a [(&'a str, &'a str)];

impl Run {
    /// Judges the recording at this path.
    pub fn of(dump: &Path, more: &[&str]) -> Self {
        let args = [&["run", "all", "--dump", dump.to_str().unwrap()], more].concat();
        let output = rbees_in(Path::new("/"), &home(), &args).output().unwrap();
        Self { text: stdout(&output) + &stderr(&output), code: output.status.code().unwrap() }
    }

    /// Judges a recording with this map, and nothing may be recognised.
    pub fn with_map(arrays: &Arrays, map: &str) -> Self {
        let folder = tempdir().unwrap();
        let file = folder.path().join("map.toml");
        fs::write(&file, map).unwrap();
        Self::of(&write(folder.path(), arrays), &["--strict", "--map", file.to_str().unwrap()])
    }

    /// The notes, without the name of the file.
    pub fn notes(&self) -> Vec<&str> {
        let lines = self.text.lines();
        lines.filter_map(|line| Some(line.strip_prefix("note: ")?.split_once(": ")?.1)).collect()
    }

    /// The mistakes that are named.
    pub fn named(&self) -> Vec<&str> {
        let suspects =
            self.text.lines().filter_map(|line| line.strip_prefix("   suspect    ")?.split(':').next());
        suspects.collect()
    }

    /// The checkpoints that failed.
    pub fn failed(&self) -> Vec<&str> {
        let failed =
            self.text.lines().filter_map(|line| line.strip_prefix("  FAIL  ")?.split_whitespace().next());
        failed.collect()
    }
}

/// Judges a recording without metadata.
pub fn run(arrays: &Arrays) -> Run {
    stating(arrays, &[])
}

/// Judges a recording with this metadata.
pub fn stating(arrays: &Arrays, metadata: Stated<'_>) -> Run {
    let folder = tempdir().unwrap();
    Run::of(&write_stating(folder.path(), arrays, metadata), &[])
}

/// The recording passes with this one note; with the metadata that the note asks for, without a note. With
/// `--strict`, it is refused.
pub fn is_recognised(arrays: &Arrays, what: &str, explicit: &str) {
    let (found, folder) = (run(arrays), tempdir().unwrap());
    let note = format!("{what}; to state it: {explicit} in the metadata");
    assert_eq!((found.notes(), found.code), (vec![note.as_str()], 0), "{}", found.text);
    let metadata: BTreeMap<String, String> = serde_json::from_str(&format!("{{{explicit}}}")).unwrap();
    let metadata: Vec<(&str, &str)> = metadata.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    is_stated(arrays, &metadata);
    let strict = Run::of(&write(folder.path(), arrays), &["--strict"]);
    assert_eq!(strict.code, 2, "{}", strict.text);
    assert!(
        strict.text.contains(&format!("hint: state it: {explicit} in the metadata; ")),
        "{}",
        strict.text
    );
}

/// With this metadata the recording passes without a note: in the file, or in a map.
pub fn is_stated(arrays: &Arrays, metadata: Stated<'_>) {
    let folder = tempdir().unwrap();
    let stated = Run::of(&write_stating(folder.path(), arrays, metadata), &["--strict"]);
    assert_eq!((stated.notes(), stated.code), (vec![], 0), "{}", stated.text);
    let map = folder.path().join("map.toml");
    let lines: String = metadata.iter().map(|(key, value)| format!("{key} = \"{value}\"\n")).collect();
    fs::write(&map, format!("[metadata]\n{lines}")).unwrap();
    let mapped = Run::of(&write(folder.path(), arrays), &["--strict", "--map", map.to_str().unwrap()]);
    assert_eq!((mapped.notes(), mapped.code), (vec![], 0), "{}", mapped.text);
}

/// The recording fails at these checkpoints without a note, and these mistakes are named.
pub fn fails(run: &Run, checkpoints: &[&str], named: &[&str]) {
    let failed: Vec<&str> = run.failed().into_iter().filter(|id| *id != "07").collect();
    assert_eq!((run.notes(), run.code, failed), (vec![], 1, checkpoints.to_vec()), "{}", run.text);
    let found: Vec<&str> = run.named().into_iter().filter(|name| *name != "unexplained").collect();
    assert_eq!(found, named, "{}", run.text);
}

/// The recording cannot be judged; the message contains `what`, and its hint `hint`.
pub fn is_undecided(arrays: &Arrays, what: &str, hint: &str) {
    undecided(&run(arrays), what, hint);
}

/// The same for a recording of a model that this program does not support.
pub fn is_undecided_without_weights(arrays: &Arrays, what: &str, hint: &str) {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("config.json"), r#"{"model_type": "other"}"#).unwrap();
    let more = ["--model", folder.path().to_str().unwrap(), "--references", "tiny-llama"];
    undecided(&Run::of(&write(folder.path(), arrays), &more), what, hint);
}

fn undecided(run: &Run, what: &str, hint: &str) {
    assert_eq!(run.code, 2, "{}", run.text);
    let (said, hinted) = run.text.split_once("\nhint: ").unwrap_or_else(|| panic!("{}", run.text));
    assert!(said.contains(what) && hinted.contains(hint), "{}", run.text);
}

/// With `--strict`, the recording is refused with this text.
pub fn is_refused(arrays: &Arrays, text: &str) {
    let folder = tempdir().unwrap();
    let strict = Run::of(&write(folder.path(), arrays), &["--strict"]);
    assert!(strict.code == 2 && strict.text.contains(text), "{}", strict.text);
}
