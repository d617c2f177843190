//! The documents about Candle, compared with the tables and the code.

use std::collections::BTreeSet;
use std::fs;

use rbees_check::bench::policy::{Choice, FIXED, PARTS};
use rbees_check::bench::{CANDLE, known, operations};

#[test]
fn the_version_of_candle_is_the_one_that_is_built() {
    let lock: toml::Table = fs::read_to_string("Cargo.lock").unwrap().parse().unwrap();
    let packages = lock["package"].as_array().unwrap();
    let version = |name: &str| {
        let package = packages.iter().find(|package| package["name"].as_str() == Some(name)).unwrap();
        package["version"].as_str().unwrap().to_owned()
    };
    assert_eq!([version("candle-core"), version("candle-nn")], [CANDLE, CANDLE]);
}

/// The text of the comments of a source file, each run of spaces and line ends as one space.
fn comments(source: &str) -> String {
    let lines = source.lines().filter_map(|line| line.trim_start().strip_prefix("//"));
    let words = lines.flat_map(|line| line.trim_start_matches(['/', '!']).split_whitespace());
    words.collect::<Vec<_>>().join(" ")
}

/// A part that Candle computes imports and calls it there; a part of our own says why.
#[test]
fn the_code_does_what_the_table_says() {
    for part in PARTS {
        let source = fs::read_to_string(part.file).unwrap();
        assert!(!part.evidence.is_empty(), "{}", part.component);
        for text in part.evidence {
            let found = match part.choice {
                Choice::Candle => source.contains(text),
                Choice::Ours => comments(&source).contains(text),
            };
            assert!(found, "{}: {} does not contain `{text}`", part.component, part.file);
        }
        if let Some((operation, _)) = part.operation {
            assert!(operations::names().any(|name| name == operation), "{operation}");
        }
    }
}

/// A call that is commented out is not a call.
#[test]
fn a_call_in_the_table_is_code_and_not_a_comment() {
    for part in PARTS.iter().filter(|part| part.choice == Choice::Candle) {
        let source = fs::read_to_string(part.file).unwrap();
        let code: Vec<&str> = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let called = part.evidence.last().unwrap();
        assert!(code.iter().any(|line| line.contains(called)), "{}: `{called}`", part.component);
    }
}

/// The columns that are not measured are those of the table.
#[test]
fn the_policy_document_is_that_of_the_table() {
    let document = fs::read_to_string("docs/candle-policy.md").unwrap();
    assert!(document.contains(&format!("Candle {CANDLE} ")), "regenerate docs/candle-policy.md");
    let rows: Vec<Vec<&str>> = document
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|line| line.split(" | ").collect())
        .collect();
    let (head, rows) = rows.split_first().unwrap();
    let columns: Vec<usize> =
        FIXED.iter().map(|name| head.iter().position(|of| of == name).unwrap()).collect();
    // The line under the head is `| --- |`.
    let got: Vec<Vec<&str>> =
        rows[1..].iter().map(|row| columns.iter().map(|&column| row[column]).collect()).collect();
    let want: Vec<[String; 4]> = PARTS.iter().map(|part| part.fixed()).collect();
    assert_eq!(got, want);
}

/// Every known defect is a section of the document about findings, and every such section a known defect.
#[test]
fn the_document_about_findings_has_a_section_for_every_known_defect() {
    let document = fs::read_to_string("docs/candle-findings.md").unwrap();
    let sections: BTreeSet<&str> = document
        .lines()
        .filter_map(|line| line.strip_prefix("### `")?.split_once('`').map(|(name, _)| name))
        .collect();
    let known: BTreeSet<&str> = known::KNOWN.iter().map(|known| known.name).collect();
    assert_eq!(sections, known);
}
