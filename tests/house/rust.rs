//! Rust source → who imports whom, resolved to the file that holds what is imported.

use std::collections::BTreeMap;

use rstest::rstest;

use crate::graph::Graph;
use crate::tokens::{is_word, tokens, without_tests};

/// Module → source. The root, whose name is empty, is followed and not counted.
pub type Sources = BTreeMap<String, String>;

/// Something that a module names, by its whole path.
struct Import {
    path: Vec<String>,
    /// What the module calls it: none for a path in the midst of code.
    name: Option<String>,
    /// `pub use`: a re-export.
    public: bool,
}

/// Who imports whom; with the code of tests or without.
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
            // A module that re-exports what its own files hold does not use it.
            let re_exported = *public && to.strip_prefix(module).is_some_and(|rest| rest.starts_with("::"));
            if !re_exported {
                graph.add(module, &to);
            }
        }
    }
    graph
}

/// The file that holds what `path` names: the deepest module in it, or where that module has the name from.
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

/// Everything that `module` names: behind `use`, and as a path in its code.
fn imports(module: &str, tokens: &[&str]) -> Vec<Import> {
    let token = |at: usize| tokens.get(at).copied().unwrap_or("");
    let mut here: Vec<&str> = module.split("::").filter(|part| !part.is_empty()).collect();
    // The depths at which modules inside the file end.
    let (mut inner, mut depth) = (Vec::new(), 0usize);
    let (mut all, mut at, mut public) = (Vec::new(), 0, false);
    while at < tokens.len() {
        let was_public = std::mem::take(&mut public);
        match token(at) {
            "pub" => {
                public = true;
                // `pub(in super::super)` names nothing that is used.
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

/// `a::{b, c as d}` → what it names and how it calls it, from `at` on; nothing for `*`.
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

/// `path` as it is written in module `here`, from the root on.
fn absolute(here: &[&str], path: &[&str]) -> Vec<String> {
    let up = path.iter().take_while(|part| **part == "super").count();
    let (start, path) = match path.first() {
        Some(&("crate" | "rbees_check")) => (&here[..0], &path[1..]),
        Some(&"self") => (here, &path[1..]),
        _ => (&here[..here.len().saturating_sub(up)], &path[up..]),
    };
    start.iter().chain(path).map(|part| (*part).to_owned()).collect()
}

/// A crate whose files hold what `code`, in `room::file`, may import.
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
#[case::a_path("use crate::other::part::Thing;", &["other::part"])]
#[case::from_the_command("use rbees_check::other::part;", &["other::part"])]
#[case::a_module("use crate::other;", &["other"])]
#[case::what_a_module_holds_itself("use crate::other::here;", &["other"])]
#[case::re_exported("use crate::other::Thing;", &["other::part"])]
#[case::re_exported_twice("use crate::other::Deep;", &["other::deep::deepest"])]
#[case::re_exported_by_the_root("use crate::{Error, Thing};", &["error", "other::part"])]
#[case::nested("use crate::{other::{deep::{self, Deep}, part}, error};", &["error", "other::deep", "other::deep::deepest", "other::part"])]
#[case::beside("use super::beside::Beside;", &["room::beside"])]
#[case::beside_and_re_exported("use super::Beside;", &["room::beside"])]
#[case::imported_by_the_room("use super::Renamed;", &["other::part"])]
#[case::above("use super::super::error;", &["error"])]
#[case::the_room("use super::*;", &["room"])]
#[case::a_child("use self::child::X;", &["room::file::child"])]
#[case::a_child_by_its_name("mod child; use child::X;", &["room::file::child"])]
#[case::a_child_re_exported("mod child; pub use child::X; pub(crate) use self::child::Y;", &[])]
#[case::another_file_re_exported("pub use super::Beside;", &["room::beside"])]
#[case::in_code("fn f() { let x = crate::other::Thing::new(super::beside::y); }", &["other::part", "room::beside"])]
#[case::by_an_imported_name("use crate::other as o; fn f() { o::Thing::new() }", &["other", "other::part"])]
#[case::in_an_inner_module("mod inner { use super::child::X; use super::super::beside; }", &["room::beside", "room::file::child"])]
#[case::other_crates("use std::error::Error; use other_crate::part; fn f() { serde_json::from_str() }", &[])]
#[case::visibility("pub(in super::super) fn f() {}", &[])]
#[case::comments("//! [`crate::other`]\n// use crate::other;\nconst X: &str = \"crate::other\";", &[])]
#[case::tests("#[cfg(test)]\nmod tests { use crate::other; }", &[])]
fn imports_are_found_in_every_form(#[case] code: &str, #[case] found: &[&str]) {
    let graph = graph(&made_up(code), false);
    let imports = graph.imports().filter(|(from, _)| *from == "room::file").map(|(_, to)| to);
    assert_eq!(imports.collect::<Vec<_>>(), found);
}

#[test]
fn the_code_of_tests_counts_where_it_is_asked_for() {
    let mut sources = made_up("#[cfg(test)] mod tests { use super::super::beside; }");
    sources.insert("room::tests".into(), "use super::file;".into());
    let from =
        |tests| graph(&sources, tests).imports().filter(|(from, _)| from.starts_with("room::")).count();
    assert_eq!((from(true), from(false)), (2, 0));
}

#[test]
fn a_planted_circle_is_found_through_a_re_export() {
    let mut sources = made_up("use crate::other::Deep;");
    assert!(graph(&sources, false).circles().is_empty());
    sources.insert("other::deep::deepest".into(), "use crate::room::file;".into());
    let graph = graph(&sources, false);
    assert_eq!(graph.circles(), ["other::deep::deepest -> room::file -> other::deep::deepest"]);
    assert_eq!(graph.rooms().circles(), ["other -> room -> other"]);
}

#[test]
fn a_module_that_uses_its_files_and_is_used_by_them_is_a_circle() {
    let sources = [("a", "mod b; pub struct A; fn f() { b::g() }"), ("a::b", "use super::A;")];
    let sources = sources.map(|(module, source)| (module.to_owned(), source.to_owned())).into();
    assert_eq!(graph(&sources, false).circles(), ["a -> a::b -> a"]);
}
