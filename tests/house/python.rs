//! Finds the imports in Python source.

use std::collections::BTreeMap;

use rstest::rstest;

use crate::graph::Graph;

/// The source of each module. A package is named `package.__init__`.
pub type Sources = BTreeMap<String, String>;

/// The imports of every module, at any place in its file.
pub fn graph(sources: &Sources) -> Graph {
    let mut graph = Graph::default();
    for (module, source) in sources {
        for path in imports(module, source) {
            // `from a import b` imports a file b in folder a, or an item of a.
            let parent = path.rsplit_once('.').map_or("", |(parent, _)| parent);
            let names = [&path, parent].map(|name| [name.to_owned(), format!("{name}.__init__")]);
            let to = names.into_iter().flatten().find(|name| sources.contains_key(name));
            to.filter(|to| to != module).into_iter().for_each(|to| graph.add(module, &to));
        }
    }
    graph
}

/// The full path of everything that `module` imports.
fn imports(module: &str, source: &str) -> Vec<String> {
    // Text between two `"""` is not code.
    let code: String = source.split("\"\"\"").step_by(2).collect();
    let mut lines = code.lines().map(|line| line.split('#').next().unwrap_or("").trim());
    let mut all = Vec::new();
    while let Some(line) = lines.next() {
        let mut statement = line.to_owned();
        if line.starts_with("from ") && line.contains('(') {
            while !statement.contains(')') {
                let Some(more) = lines.next() else { break };
                statement += more;
            }
        }
        let split = |names: &str| {
            let words =
                names.split(',').filter_map(|name| name.trim_matches([' ', '(', ')']).split(' ').next());
            words.filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        if let Some(names) = statement.strip_prefix("import ") {
            all.extend(split(names));
        } else if let Some((from, names)) =
            statement.strip_prefix("from ").and_then(|rest| rest.split_once(" import "))
        {
            let from = absolute(module, from.trim());
            all.extend(split(names).into_iter().map(|name| format!("{from}.{name}")));
        }
    }
    all
}

/// `.files` in `capture.models` → `capture.files`.
fn absolute(module: &str, path: &str) -> String {
    let name = path.trim_start_matches('.');
    let mut package: Vec<&str> = module.split('.').collect();
    package.truncate(package.len().saturating_sub(path.len() - name.len()));
    if path.starts_with('.') {
        package.into_iter().chain([name]).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".")
    } else {
        name.to_owned()
    }
}

/// A folder of test scripts, with `code` in `capture.here`.
fn made_up(code: &str) -> Sources {
    let names = ["script", "capture.__init__", "capture.files", "capture.models"].map(|name| (name, ""));
    let files = names.into_iter().chain([("capture.here", code)]);
    files.map(|(module, source)| (module.to_owned(), source.to_owned())).collect()
}

#[rstest]
#[case::item_of_a_module("from .files import sha256, write", &["capture.files"])]
#[case::modules("from . import files, models", &["capture.files", "capture.models"])]
#[case::the_package("from . import VERSION", &["capture.__init__"])]
#[case::parent_package("from ..script import main", &["script"])]
#[case::absolute_path("from capture.files import sha256", &["capture.files"])]
#[case::modules_by_absolute_path("from capture import files, models as m", &["capture.files", "capture.models"])]
#[case::plain_import("import numpy, capture.models, script as s", &["capture.models", "script"])]
#[case::on_several_lines("from . import (  # both\n    files,\n    models,\n)", &["capture.files", "capture.models"])]
#[case::in_a_function("def f():\n    from .files import x  # late", &["capture.files"])]
#[case::strings_and_comments("\"\"\"\nfrom .files import x\n\"\"\"\n# import script", &[])]
#[case::other_packages("from files import x\nfrom safetensors.numpy import load_file", &[])]
fn imports_are_found_in_every_syntax(#[case] code: &str, #[case] found: &[&str]) {
    let graph = graph(&made_up(code));
    assert_eq!(graph.imports().map(|(_, to)| to).collect::<Vec<_>>(), found);
}

#[test]
fn an_import_cycle_is_found() {
    let mut sources = made_up("from .files import x");
    assert!(graph(&sources).circles().is_empty());
    sources.insert("capture.files".into(), "def f():\n    from . import here".into());
    assert_eq!(graph(&sources).circles(), ["capture.files -> capture.here -> capture.files"]);
}
