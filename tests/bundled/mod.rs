//! Unpacks bundles, and runs the command in their README.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read};

use rbees_check::report::json::{self, Report};
use zip::ZipArchive;

use super::program::{home, rbees_in, stderr};

/// Every file in a zip archive, by name.
pub fn unzipped(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut zip = ZipArchive::new(Cursor::new(bytes)).unwrap();
    let mut files = BTreeMap::new();
    for n in 0..zip.len() {
        let mut file = zip.by_index(n).unwrap();
        let mut content = Vec::new();
        file.read_to_end(&mut content).unwrap();
        files.insert(file.name().unwrap().into_owned(), content);
    }
    files
}

/// Unpacks a bundle into a new folder and runs the command that its README gives.
pub fn rerun(bytes: &[u8]) -> (Report, json::Finding) {
    let folder = home();
    let files = unzipped(bytes);
    for (name, content) in &files {
        let path = folder.path().join("DIR").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let readme = String::from_utf8(files["README.txt"].clone()).unwrap();
    let line = readme.lines().find_map(|line| line.trim().strip_prefix("rbees-check run ")).unwrap();
    let args: Vec<&str> =
        ["run"].into_iter().chain(line.split(' ')).chain(["--report", "json=r.json"]).collect();
    let output = rbees_in(folder.path(), &home(), &args).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{readme}{}", stderr(&output));
    let report = Report::read(&folder.path().join("r.json")).unwrap();
    (report, serde_json::from_slice(&files["finding.json"]).unwrap())
}
