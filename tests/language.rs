//! Keeps the texts in plain English: docs, snapshots of output, and the comments and string literals of the
//! program must not contain any phrase of a list.

#[path = "language/phrases.rs"]
mod phrases;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use phrases::PHRASES;
use rstest::rstest;

/// A phrase in a text.
#[derive(Debug, PartialEq)]
struct Found {
    /// From 1. The line on which the phrase begins.
    line: usize,
    phrase: &'static str,
    /// What to write instead.
    plain: &'static str,
}

#[test]
fn the_texts_contain_no_phrase_of_the_list() {
    let mut found = Vec::new();
    for path in texts() {
        let text = read(&path);
        for Found { line, phrase, plain } in find(&text) {
            found.push(format!("{}:{line}: instead of \"{phrase}\" write \"{plain}\"", path.display()));
        }
    }
    assert!(found.is_empty(), "not plain English:\n{}", found.join("\n"));
}

#[test]
fn every_kind_of_text_is_read() {
    let texts = texts();
    assert!(texts.len() > 300, "only {} files are read", texts.len());
    for path in [
        "README.md",
        "CHANGELOG.md",
        "docs/ci.md",
        "fixtures/README.md",
        "checkpoints/03_attention.rs",
        "src/cli/run.rs",
        "src/mistakes/rotation.rs",
        "tests/snapshots/cli__help-run.snap",
    ] {
        assert!(texts.contains(Path::new(path)), "{path} is not read");
    }
}

#[test]
fn the_list_is_consistent() {
    let phrases: BTreeSet<&str> = PHRASES.iter().map(|(phrase, _)| *phrase).collect();
    assert_eq!(phrases.len(), PHRASES.len(), "a phrase is listed twice");
    assert!(phrases.len() >= 40);
    for (phrase, plain) in PHRASES {
        assert!(find(phrase).iter().any(|found| found.phrase == *phrase), "\"{phrase}\" is not found");
        assert_eq!(find(plain), [], "the text to write instead of \"{phrase}\"");
    }
}

#[rstest]
#[case::one_line("Fine.\nIt is held against PyTorch.", 2)]
#[case::any_case("HELD AGAINST PyTorch", 1)]
#[case::across_lines("Values are\nheld\n    against others.", 2)]
#[case::quotation("> Values are held\n> against others.", 1)]
#[case::emphasis("**Held against** others.", 1)]
fn a_planted_phrase_is_found_in_a_document(#[case] text: &str, #[case] line: usize) {
    assert_eq!(find(text), [Found { line, phrase: "held against", plain: "compared with" }]);
}

#[rstest]
#[case::module_comment("//! Held\n//! against.", 1)]
#[case::doc_comment("struct A {\n    /// Values held\n    /// against others.\n    b: u8,\n}", 2)]
#[case::literal("fn a() {\n    b(\"held against {c}\");\n}", 2)]
#[case::literal_on_two_lines("const A: &str = \"held \\\n    against\";", 1)]
#[case::escaped_line_end("const A: &str = \"first\\nheld against\";", 1)]
#[case::raw_literal("const A: &str = r#\"\n\"held\" held against\"#;", 2)]
#[case::after_a_character("fn a<'b>() { c('\"', '\\'', \"held against\"); }", 1)]
fn a_planted_phrase_is_found_in_source(#[case] source: &str, #[case] line: usize) {
    assert_eq!(find(&prose(source)), [Found { line, phrase: "held against", plain: "compared with" }]);
}

#[rstest]
#[case::other_words("withheld against")]
#[case::name("held_against and `upheld`")]
#[case::punctuation("what was held. Against that")]
#[case::lower_case_of_capitals("a void function")]
#[case::plain_english("there is no model; a truth table stands in for it; progress bars; nobody asked")]
fn other_text_is_accepted(#[case] text: &str) {
    assert_eq!(find(text), []);
}

#[rstest]
#[case::code("held against")]
#[case::two_literals("a(\"held\", \"against\")")]
#[case::comment_and_code("// held\nagainst")]
fn code_is_not_read(#[case] source: &str) {
    assert_eq!(find(&prose(source)), []);
}

/// Every phrase of the list in `text`, which may continue on the next line.
fn find(text: &str) -> Vec<Found> {
    // Every run of spaces, line ends and comment marks becomes one space.
    let (mut words, mut starts) = (String::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        for word in line.split_whitespace().filter(|word| !["//", "///", "//!", ">", "\\"].contains(word)) {
            starts.push((words.len(), number));
            words.extend([word, " "]);
        }
    }
    let lower = words.to_ascii_lowercase();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for &(phrase, plain) in PHRASES {
        let exact = phrase.contains(char::is_uppercase);
        let words = if exact { &words } else { &lower };
        for (at, _) in words.match_indices(phrase) {
            let (before, after) = (&words[..at], &words[at + phrase.len()..]);
            if !before.ends_with(is_word) && !after.starts_with(is_word) {
                let line = starts[starts.partition_point(|(start, _)| *start <= at) - 1].1;
                found.push(Found { line, phrase, plain });
            }
        }
    }
    found
}

/// The comments and literals of Rust source, each on its line. Every other character becomes `¦`.
fn prose(source: &str) -> String {
    let (mut rest, mut prose) = (source, String::new());
    while let Some(first) = rest.chars().next() {
        let text = if rest.starts_with("//") { rest.find('\n').or(Some(rest.len())) } else { literal(rest) };
        let length = text.unwrap_or(first.len_utf8());
        if text.is_some() || first.is_whitespace() {
            prose.push_str(&rest[..length].replace("\\n", " "));
        } else {
            prose.push('¦');
        }
        rest = &rest[length..];
    }
    prose
}

/// The length of the string or character literal at the start of `rest`.
fn literal(rest: &str) -> Option<usize> {
    if let Some(raw) = rest.strip_prefix('r') {
        let text = raw.trim_start_matches('#');
        let end = format!("\"{}", "#".repeat(raw.len() - text.len()));
        let text = text.strip_prefix('"')?;
        return Some(rest.len() - text.len() + text.find(&end)? + end.len());
    }
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    // `'a` without a closing quote is a lifetime.
    if quote == '\'' && !rest[1..].starts_with('\\') && rest.chars().nth(2) != Some('\'') {
        return None;
    }
    let mut escaped = false;
    let end = rest[1..].find(|c| {
        let ends = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    })?;
    Some(end + 2)
}

fn read(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    if path.extension().is_some_and(|extension| extension == "rs") { prose(&text) } else { text }
}

/// The files with text for users and readers of the code.
fn texts() -> BTreeSet<PathBuf> {
    let files = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"].map(PathBuf::from);
    let mut texts: BTreeSet<PathBuf> = files.into_iter().filter(|path| path.exists()).collect();
    let folders = [
        ("docs", "md"),
        ("fixtures", "README.md"),
        ("tests/snapshots", "snap"),
        ("src", "snap"),
        ("src", "rs"),
        ("checkpoints", "rs"),
    ];
    for (folder, end) in folders {
        let mut folders = vec![PathBuf::from(folder)];
        while let Some(within) = folders.pop() {
            for path in fs::read_dir(within).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if path.to_string_lossy().ends_with(end) {
                    texts.insert(path);
                }
            }
        }
    }
    texts
}
