//! The house rules that a reader relies on: who may import whom.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rstest::rstest;

/// Room → the rooms that it may import. `error` is open to all.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("compare", &[]),
    ("probe", &[]),
    ("weights", &[]),
    ("tokenizer", &[]),
    ("model", &["probe", "weights"]),
    ("port", &["model", "probe", "weights"]),
    ("generate", &["model", "tokenizer", "weights", "probe"]),
    ("oracle", &["probe", "weights"]),
    ("suspects", &["oracle", "compare", "probe", "weights"]),
    ("reference", &["compare", "probe"]),
    ("models", &["weights", "tokenizer", "reference"]),
    ("checkpoints", &["probe", "reference"]),
    (
        "judge",
        &[
            "checkpoints",
            "compare",
            "generate",
            "model",
            "models",
            "port",
            "probe",
            "oracle",
            "reference",
            "suspects",
            "tokenizer",
            "weights",
        ],
    ),
    ("report", &["judge", "checkpoints", "compare", "probe", "suspects"]),
    ("check", &["checkpoints", "judge", "model", "models", "probe", "reference", "report", "weights"]),
    (
        "dump",
        &[
            "checkpoints",
            "compare",
            "judge",
            "mistakes",
            "models",
            "oracle",
            "probe",
            "reference",
            "suspects",
            "weights",
        ],
    ),
    ("bundle", &["judge", "port", "probe", "reference", "report", "weights"]),
    ("mistakes", &[]),
    // Never what names a mistake: the oracle, the suspects, the judge.
    (
        "plants",
        &[
            "checkpoints",
            "compare",
            "generate",
            "mistakes",
            "model",
            "models",
            "port",
            "probe",
            "reference",
            "tokenizer",
            "weights",
        ],
    ),
    ("selftest", &["checkpoints", "judge", "mistakes", "model", "models", "plants", "reference", "suspects"]),
];

#[rstest]
fn a_room_imports_only_what_it_may(
    #[values(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19)] room: usize,
) {
    let (room, allowed) = MAY_IMPORT[room];
    let files = files_of(room);
    assert!(!files.is_empty(), "no such room: {room}");
    for file in files {
        for import in imports(&fs::read_to_string(&file).unwrap()) {
            let fine = import == room || import == "error" || allowed.contains(&import.as_str());
            assert!(fine, "{} imports {import}, which {room} may not", file.display());
        }
    }
}

#[test]
fn every_room_of_the_library_has_a_line_in_the_table() {
    let library = fs::read_to_string("src/lib.rs").unwrap();
    let rooms = library.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let known: BTreeSet<&str> = MAY_IMPORT.iter().map(|(room, _)| *room).chain(["cli", "error"]).collect();
    let rooms: BTreeSet<&str> = rooms.collect();
    assert!(rooms.len() >= MAY_IMPORT.len());
    assert!(rooms.is_subset(&known), "{rooms:?} are not all in {known:?}");
}

#[test]
fn imports_are_found_in_every_form() {
    let source =
        "use crate::{Error, model::Llama, weights};\nuse crate::probe::Site;\nlet x = crate::judge::run();";
    let found: Vec<String> = imports(source).into_iter().collect();
    assert_eq!(found, ["judge", "model", "probe", "weights"]);
}

/// All files of a room: `src/room.rs`, `src/room/**`, `checkpoints/**`.
fn files_of(room: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders =
        vec![PathBuf::from(if room == "checkpoints" { room.into() } else { format!("src/{room}") })];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.extend((path.extension().is_some_and(|e| e == "rs")).then_some(path)),
            }
        }
    }
    let single = Path::new("src").join(format!("{room}.rs"));
    files.extend(single.exists().then_some(single));
    files
}

/// The rooms named behind `crate::`, alone or in braces. `Error` and `Result` are no rooms.
fn imports(source: &str) -> BTreeSet<String> {
    let lower = |s: &str| s.chars().next().is_some_and(|c| c.is_lowercase());
    let word =
        |s: &str| s.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = BTreeSet::new();
    let code: String =
        source.lines().filter(|l| !l.trim_start().starts_with("//")).map(|l| format!("{l}\n")).collect();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            None => found.extend(Some(word(rest)).filter(|w| lower(w))),
            Some(group) => {
                let (mut depth, mut item) = (0, String::new());
                for c in group.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => {
                            found.extend(Some(word(&item)).filter(|w| lower(w)));
                            item.clear();
                            continue;
                        }
                        _ => {}
                    }
                    item.push(c);
                }
                found.extend(Some(word(&item)).filter(|w| lower(w)));
            }
        }
    }
    found
}
