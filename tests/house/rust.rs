//! Finds the imports in Rust source, and resolves each to the file that contains the imported item.

use std::collections::BTreeMap;

use rstest::rstest;

use crate::graph::Graph;
use crate::tokens::{is_word, tokens, without_tests};

/// The source of each module. The name of the root is empty. Its re-exports are followed, but it is not a
/// node of the graph.
pub type Sources = BTreeMap<String, String>;

/// Something that a module names, by its full path.
struct Import {
    path: Vec<String>,
    /// The name that the module gives it. `None` for a path inside code.
    name: Option<String>,
    /// `pub use`: a re-export.
    public: bool,
}

/// The imports of every module, with or without test code.
pub fn graph(sources: &Sources, tests: bool) -> Graph {
    let counted = |module: &str| tests || module.split("::").all(|part| part != "tests");
    let modules: BTreeMap<&str, Vec<Import>> = sources
        .iter()
        .filter(|(module, _)| counted(module))
        .map(|(module, source)| {
            let tokens = if tests { tokens(source) } else { without_tests(&tokens(source)) };
            (module.as_str(), imports(module, &tokens))
        })
        .collect();
    let mut graph = Graph::default();
    for (module, imports) in modules.iter().filter(|(module, _)| !module.is_empty()) {
        for Import { path, public, .. } in imports {
            let Some(to) = resolve(&modules, path, 0).filter(|to| to != module && !to.is_empty()) else {
                continue;
            };
            // A module that re-exports items of its own files does not use them.
            let re_exported = *public && to.strip_prefix(module).is_some_and(|rest| rest.starts_with("::"));
            if !re_exported {
                graph.add(module, &to);
            }
        }
    }
    graph
}

/// The file that contains the item at `path`: the deepest module in the path, or the origin of its re-export.
fn resolve(modules: &BTreeMap<&str, Vec<Import>>, path: &[String], hops: usize) -> Option<String> {
    let ends = (0..=path.len()).rev();
    let (end, module) =
        ends.map(|end| (end, path[..end].join("::"))).find(|(_, module)| modules.contains_key(&**module))?;
    let from = |name| modules[&*module].iter().find(|import| import.name.as_ref() == Some(name));
    match path.get(end).and_then(from).filter(|_| hops < 8) {
        Some(import) => resolve(modules, &[&import.path, &path[end + 1..]].concat(), hops + 1),
        None => Some(module),
    }
}

/// Everything that `module` names, in `use` declarations and as paths in its code.
fn imports(module: &str, tokens: &[&str]) -> Vec<Import> {
    let token = |at: usize| tokens.get(at).copied().unwrap_or("");
    let mut here: Vec<&str> = module.split("::").filter(|part| !part.is_empty()).collect();
    // The brace depths at which inline modules end.
    let (mut inner, mut depth) = (Vec::new(), 0usize);
    let (mut all, mut at, mut public) = (Vec::new(), 0, false);
    while at < tokens.len() {
        let was_public = std::mem::take(&mut public);
        match token(at) {
            "pub" => {
                public = true;
                // The path in `pub(in super::super)` is not an import.
                let close = |rest: &[&str]| rest.iter().position(|token| *token == ")").unwrap_or(0);
                at += if token(at + 1) == "(" { close(&tokens[at..]) } else { 0 };
            }
            "mod" if token(at + 2) == "{" => {
                here.push(token(at + 1));
                inner.push(depth);
                at += 1;
            }
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                if inner.pop_if(|end| *end == depth).is_some() {
                    here.pop();
                }
            }
            "use" if token(at + 1) != "<" => {
                at += 1;
                tree(tokens, &mut at, &[], &mut |path, name| {
                    let name = (inner.is_empty() && !name.is_empty()).then(|| name.to_owned());
                    all.push(Import { path: absolute(&here, path), name, public: was_public });
                });
            }
            word if is_word(word)
                && token(at + 1) == "::"
                && (at == 0 || ![".", "::"].contains(&token(at - 1))) =>
            {
                let mut path = vec![word];
                while token(at + 1) == "::" && is_word(token(at + 2)) {
                    path.push(token(at + 2));
                    at += 2;
                }
                all.push(Import { path: absolute(&here, &path), name: None, public: false });
            }
            _ => {}
        }
        at += 1;
    }
    all
}

/// Parses a `use` tree such as `a::{b, c as d}` from `at` on. Reports each path and the name it gets, which
/// is empty for `*`.
fn tree<'a>(
    tokens: &[&'a str],
    at: &mut usize,
    before: &[&'a str],
    found: &mut dyn FnMut(&[&'a str], &'a str),
) {
    let mut path = before.to_vec();
    while let Some(&token) = tokens.get(*at) {
        *at += 1;
        let next = tokens.get(*at).copied().unwrap_or("");
        match token {
            "::" => {}
            "{" => {
                while tokens.get(*at).is_some_and(|token| *token != "}") {
                    tree(tokens, at, &path, found);
                    *at += usize::from(tokens.get(*at) == Some(&","));
                }
                *at += 1;
                return;
            }
            "*" => return found(&path, ""),
            "self" if !path.is_empty() && next != "as" => return found(&path, path[path.len() - 1]),
            "self" if !path.is_empty() => {}
            word => path.push(word),
        }
        if next == "as" {
            *at += 2;
            return found(&path, tokens.get(*at - 1).copied().unwrap_or(""));
        }
        if next != "::" && token != "::" {
            return found(&path, token);
        }
    }
}

/// The path from the root of `path`, as written in module `here`.
fn absolute(here: &[&str], path: &[&str]) -> Vec<String> {
    let up = path.iter().take_while(|part| **part == "super").count();
    let (start, path) = match path.first() {
        Some(&("crate" | "rbees_check")) => (&here[..0], &path[1..]),
        Some(&"self") => (here, &path[1..]),
        _ => (&here[..here.len().saturating_sub(up)], &path[up..]),
    };
    start.iter().chain(path).map(|part| (*part).to_owned()).collect()
}

/// A test crate with `code` in `room::file` and other files that it can import.
fn made_up(code: &str) -> Sources {
    let files = [
        ("", "pub use other::part::Thing; pub use error::Error;"),
        ("error", ""),
        ("other", "mod part; mod deep; pub use part::Thing; pub use deep::Deep; pub fn here() {}"),
        ("other::part", ""),
        ("other::deep", "mod deepest; pub use deepest::Deep;"),
        ("other::deep::deepest", ""),
        ("room", "pub use beside::Beside; use crate::other::Thing as Renamed;"),
        ("room::beside", ""),
        ("room::file", code),
        ("room::file::child", ""),
    ];
    files.map(|(module, source)| (module.to_owned(), source.to_owned())).into()
}

#[rstest]
#[case::full_path("use crate::other::part::Thing;", &["other::part"])]
#[case::path_from_the_command("use rbees_check::other::part;", &["other::part"])]
#[case::module("use crate::other;", &["other"])]
#[case::item_defined_in_mod_rs("use crate::other::here;", &["other"])]
#[case::re_exported("use crate::other::Thing;", &["other::part"])]
#[case::re_exported_twice("use crate::other::Deep;", &["other::deep::deepest"])]
#[case::re_exported_by_the_root("use crate::{Error, Thing};", &["error", "other::part"])]
#[case::nested("use crate::{other::{deep::{self, Deep}, part}, error};", &["error", "other::deep", "other::deep::deepest", "other::part"])]
#[case::sibling_file("use super::beside::Beside;", &["room::beside"])]
#[case::re_exported_sibling("use super::Beside;", &["room::beside"])]
#[case::imported_by_the_room("use super::Renamed;", &["other::part"])]
#[case::two_levels_up("use super::super::error;", &["error"])]
#[case::glob_of_the_room("use super::*;", &["room"])]
#[case::child_module("use self::child::X;", &["room::file::child"])]
#[case::child_module_by_name("mod child; use child::X;", &["room::file::child"])]
#[case::re_export_of_a_child_is_not_an_import("mod child; pub use child::X; pub(crate) use self::child::Y;", &[])]
#[case::re_export_of_a_sibling("pub use super::Beside;", &["room::beside"])]
#[case::path_in_code("fn f() { let x = crate::other::Thing::new(super::beside::y); }", &["other::part", "room::beside"])]
#[case::by_an_imported_name("use crate::other as o; fn f() { o::Thing::new() }", &["other", "other::part"])]
#[case::inline_module("mod inner { use super::child::X; use super::super::beside; }", &["room::beside", "room::file::child"])]
#[case::other_crates("use std::error::Error; use other_crate::part; fn f() { serde_json::from_str() }", &[])]
#[case::visibility("pub(in super::super) fn f() {}", &[])]
#[case::comments("//! [`crate::other`]\n// use crate::other;\nconst X: &str = \"crate::other\";", &[])]
#[case::tests("#[cfg(test)]\nmod tests { use crate::other; }", &[])]
fn imports_are_found_in_every_syntax(#[case] code: &str, #[case] found: &[&str]) {
    let graph = graph(&made_up(code), false);
    let imports = graph.imports().filter(|(from, _)| *from == "room::file").map(|(_, to)| to);
    assert_eq!(imports.collect::<Vec<_>>(), found);
}

#[test]
fn test_code_is_included_only_on_request() {
    let mut sources = made_up("#[cfg(test)] mod tests { use super::super::beside; }");
    sources.insert("room::tests".into(), "use super::file;".into());
    let from =
        |tests| graph(&sources, tests).imports().filter(|(from, _)| from.starts_with("room::")).count();
    assert_eq!((from(true), from(false)), (2, 0));
}

#[test]
fn an_import_cycle_through_a_re_export_is_found() {
    let mut sources = made_up("use crate::other::Deep;");
    assert!(graph(&sources, false).circles().is_empty());
    sources.insert("other::deep::deepest".into(), "use crate::room::file;".into());
    let graph = graph(&sources, false);
    assert_eq!(graph.circles(), ["other::deep::deepest -> room::file -> other::deep::deepest"]);
    assert_eq!(graph.rooms().circles(), ["other -> room -> other"]);
}

#[test]
fn a_module_that_uses_its_files_and_is_used_by_them_is_a_cycle() {
    let sources = [("a", "mod b; pub struct A; fn f() { b::g() }"), ("a::b", "use super::A;")];
    let sources = sources.map(|(module, source)| (module.to_owned(), source.to_owned())).into();
    assert_eq!(graph(&sources, false).circles(), ["a -> a::b -> a"]);
}
