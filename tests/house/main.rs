//! Tests the rules about imports: which room may import which, and that there are no import cycles.

mod graph;
mod python;
mod rust;
mod tokens;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rstest::rstest;

use self::graph::room;

/// A room is a top-level module. For each room: the rooms that it may import, also through a re-export of
/// another room. Every room may import `error` and `files`.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("files", &[]),
    ("arrays", &[]),
    ("blocks", &[]),
    ("compare", &[]),
    ("probe", &[]),
    ("weights", &["arrays"]),
    ("tokenizer", &[]),
    ("model", &["blocks", "probe", "weights"]),
    ("generate", &["model", "tokenizer", "weights", "probe"]),
    ("engine", &["compare", "generate", "model", "probe", "tokenizer", "weights"]),
    ("port", &["engine", "model", "probe", "weights"]),
    ("graph", &["probe", "weights"]),
    ("oracle", &["graph", "probe", "weights"]),
    ("diagnose", &["compare", "graph", "mistakes", "oracle", "probe", "weights"]),
    ("reference", &["arrays", "compare", "probe"]),
    ("record", &["compare", "graph", "oracle", "probe", "reference", "weights"]),
    ("recording", &["arrays", "compare", "graph", "model", "port", "probe", "reference", "weights"]),
    ("models", &["weights", "tokenizer", "reference"]),
    ("bench", &["compare", "generate", "model", "models", "probe"]),
    ("checkpoints", &["probe", "reference"]),
    (
        "judge",
        &[
            "checkpoints",
            "compare",
            "diagnose",
            "generate",
            "graph",
            "model",
            "models",
            "oracle",
            "port",
            "probe",
            "record",
            "recording",
            "reference",
            "tokenizer",
            "weights",
        ],
    ),
    ("report", &["judge", "checkpoints", "compare", "probe", "reference", "diagnose"]),
    (
        "check",
        &[
            "checkpoints",
            "judge",
            "model",
            "models",
            "port",
            "probe",
            "recording",
            "reference",
            "report",
            "weights",
        ],
    ),
    (
        "dump",
        &[
            "checkpoints",
            "compare",
            "diagnose",
            "graph",
            "judge",
            "models",
            "oracle",
            "probe",
            "recording",
            "reference",
            "weights",
        ],
    ),
    (
        "bundle",
        &["arrays", "dump", "judge", "model", "port", "probe", "recording", "reference", "report", "weights"],
    ),
    ("mistakes", &[]),
    // Must not import anything that names a mistake: the oracle, the diagnosis, the judge.
    (
        "plants",
        &[
            "checkpoints",
            "compare",
            "engine",
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
    (
        "selftest",
        &[
            "checkpoints",
            "judge",
            "mistakes",
            "model",
            "models",
            "plants",
            "reference",
            "diagnose",
            "weights",
        ],
    ),
];

#[rstest]
fn a_room_imports_only_rooms_that_the_table_allows(
    #[values(
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27
    )]
    number: usize,
) {
    let (name, allowed) = MAY_IMPORT[number];
    assert!(code().keys().any(|file| room(file) == name), "no such room: {name}");
    let graph = rust::graph(&code(), true);
    for (file, import) in graph.imports().filter(|(file, _)| room(file) == name) {
        let to = room(import);
        let fine = to == name || ["error", "files"].contains(&to) || allowed.contains(&to);
        assert!(fine, "{file} imports {import}, but {name} may not import {to}");
    }
}

#[test]
fn every_room_of_the_library_has_a_line_in_the_table() {
    let library = fs::read_to_string("src/lib.rs").unwrap();
    let modules = library.lines().map(|line| line.strip_prefix("pub ").unwrap_or(line));
    let rooms = modules.filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
    let known: BTreeSet<&str> = MAY_IMPORT.iter().map(|(room, _)| *room).chain(["cli", "error"]).collect();
    let rooms: BTreeSet<&str> = rooms.collect();
    assert!(rooms.len() >= MAY_IMPORT.len());
    assert!(rooms.is_subset(&known), "{rooms:?} are not all in {known:?}");
}

#[test]
fn no_import_cycle_between_files() {
    let graph = rust::graph(&code(), false);
    assert!(graph.imports().count() > 400, "too few imports were found: {}", graph.list());
    let circles = graph.circles();
    assert!(circles.is_empty(), "files import each other:\n{}", circles.join("\n"));
}

#[test]
fn no_import_cycle_between_rooms() {
    let circles = rust::graph(&code(), true).rooms().circles();
    assert!(circles.is_empty(), "rooms import each other:\n{}", circles.join("\n"));
}

#[test]
fn no_import_cycle_between_scripts() {
    let graph = python::graph(&scripts());
    assert!(graph.imports().count() > 40, "too few imports were found: {}", graph.list());
    let circles = graph.circles();
    assert!(circles.is_empty(), "scripts import each other:\n{}", circles.join("\n"));
}

#[test]
fn the_list_of_imports_is_written_to_the_target_folder() {
    let graph = rust::graph(&code(), false);
    let (files, rooms, scripts) = (graph.list(), graph.rooms().list(), python::graph(&scripts()).list());
    let list = format!("# files\n{files}\n# rooms\n{rooms}\n# scripts\n{scripts}");
    // The tests' folder is inside cargo's target folder, which is `target` by default.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    fs::write(target.join("import-graph.txt"), list).unwrap();
}

/// The source of every module of the library, the checkpoints and the command.
fn code() -> rust::Sources {
    let mut code = rust::Sources::new();
    for (folder, room) in [("src", None), ("checkpoints", Some("checkpoints"))] {
        for (parts, source) in sources(folder, "rs") {
            let parts = room.into_iter().chain(parts.iter().map(String::as_str));
            let parts: Vec<&str> = parts.filter(|part| !["lib", "main", "mod"].contains(part)).collect();
            // The library and the command share the root module.
            code.entry(parts.join("::")).or_default().push_str(&source);
        }
    }
    code
}

/// The source of every script.
fn scripts() -> python::Sources {
    sources("scripts", "py").into_iter().map(|(parts, source)| (parts.join("."), source)).collect()
}

/// Every file under `folder` with the extension `end`: the parts of its path in the folder, without the
/// extension, and its text.
fn sources(folder: &str, end: &str) -> Vec<(Vec<String>, String)> {
    let (mut folders, mut found) = (vec![PathBuf::from(folder)], Vec::new());
    while let Some(within) = folders.pop() {
        for entry in fs::read_dir(within).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == end) {
                let name = path.with_extension("");
                let parts = name.strip_prefix(folder).unwrap().iter();
                let parts = parts.map(|part| part.to_string_lossy().into_owned()).collect();
                found.push((parts, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}
