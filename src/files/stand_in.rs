//! Recognises text that was stored in place of a file: a pointer of Git LFS, or the answer of a web server.

use std::path::Path;

use crate::{Error, Result};

/// How such a text begins, what it is, and what to do.
const KINDS: &[(&[u8], &str, &str)] = &[
    (b"version https://git-lfs", "is a pointer of Git LFS, not the file itself", LFS),
    (b"version http://git-media", "is a pointer of Git LFS, not the file itself", LFS),
    (
        b"/annex/objects/",
        "is a pointer of git-annex, not the file itself",
        "run `git annex get` in its folder",
    ),
    (b"<!doctype html", PAGE, DOWNLOAD),
    (b"<html", PAGE, DOWNLOAD),
    (b"<?xml", PAGE, DOWNLOAD),
    (b"entry not found", PAGE, DOWNLOAD),
    (b"repository not found", PAGE, DOWNLOAD),
    (b"invalid username or password", PAGE, DOWNLOAD),
];

const LFS: &str = "run `git lfs pull` in its folder";
const PAGE: &str = "is a web server's answer, not the file itself";
const DOWNLOAD: &str = "download the file again, and log in if the model requires it";

/// Refuses a file whose content is such a text.
///
/// # Errors
/// It is one. The error says which, and how to get the file.
pub fn refuse_stand_in(path: &Path, content: &[u8]) -> Result<()> {
    let start = content.get(..64).unwrap_or(content).trim_ascii_start();
    let begins = |text: &[u8]| start.get(..text.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(text));
    match KINDS.iter().find(|(text, _, _)| begins(text)) {
        None => Ok(()),
        Some((_, what, hint)) => Err(Error::file(path, what, *hint)),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        "is a pointer of Git LFS, not the file itself",
        "run `git lfs pull` in its folder"
    )]
    #[case(
        "/annex/objects/SHA256E-s1--00\n",
        "is a pointer of git-annex, not the file itself",
        "run `git annex get` in its folder"
    )]
    #[case("\n<!DOCTYPE HTML>\n<title>Sign in</title>", PAGE, DOWNLOAD)]
    #[case("Entry not found", PAGE, DOWNLOAD)]
    fn text_in_place_of_a_file_is_refused(#[case] text: &str, #[case] what: &str, #[case] hint: &str) {
        let error = refuse_stand_in(Path::new("a/model.safetensors"), text.as_bytes()).unwrap_err();
        assert_eq!((error.to_string(), error.hint()), (format!("a/model.safetensors: {what}"), Some(hint)));
    }

    #[rstest]
    #[case(b"")]
    #[case(b"{\"version\": 1}")]
    #[case(b"GGUF\x03\0\0\0")]
    #[case(b"version")]
    fn other_content_is_accepted(#[case] content: &[u8]) {
        refuse_stand_in(Path::new("x"), content).unwrap();
    }
}
