//! Reads untrusted files: only regular files, only up to a size limit, and JSON without duplicate keys.

mod json;
mod name;
mod number;
mod printable;
mod python;
mod stand_in;

pub use json::json;
pub use name::{Name, name};
pub use number::{Number, float, floats32};
pub use printable::{one_line, printable, short_name};
pub use python::{NON_FINITE, python_json};
pub use stand_in::refuse_stand_in;

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use crate::{Error, Result};

/// Opens a regular file and returns it with its length in bytes. `hint` says what to do if the file is
/// missing or cannot be read.
///
/// # Errors
/// [`Error::Missing`] if there is no such file; [`Error::File`] if it is a directory, a pipe or a device, or
/// cannot be opened.
pub fn open(path: &Path, hint: &str) -> Result<(File, u64)> {
    // Opening a pipe blocks until someone writes to it, so check before opening. Another file may replace it
    // in between, so check again afterwards.
    check(path, fs::metadata(path), hint)?;
    let file = File::open(path).map_err(|error| unreadable(path, &error, hint))?;
    let facts = check(path, file.metadata(), hint)?;
    Ok((file, facts.len()))
}

/// Reads a regular file of at most `limit` bytes. `hint` as in [`open`].
///
/// # Errors
/// Those of [`open`]; [`Error::File`] if the file is larger than `limit`, reading fails, or its content only stands
/// in for the file, like a pointer of Git LFS.
pub fn read(path: &Path, limit: u64, hint: &str) -> Result<Vec<u8>> {
    let too_large = || {
        let problem = format!("is larger than the limit of {limit} bytes");
        Error::file(path, problem, "check that this is the right file")
    };
    let (file, length) = open(path, hint)?;
    if length > limit {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    // The file may grow while it is read, so try to read one byte more than allowed.
    let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| unreadable(path, &error, hint))?;
    if bytes.len() as u64 > limit {
        return Err(too_large());
    }
    refuse_stand_in(path, &bytes)?;
    Ok(bytes)
}

/// Like [`read`], but returns `None` if there is no such file.
///
/// # Errors
/// Those of [`read`], except [`Error::Missing`].
pub fn read_if_there(path: &Path, limit: u64, hint: &str) -> Result<Option<Vec<u8>>> {
    match read(path, limit, hint) {
        Err(Error::Missing { .. }) => Ok(None),
        read => read.map(Some),
    }
}

/// Like [`read`], for UTF-8 text.
///
/// # Errors
/// Those of [`read`]; [`Error::File`] if the content is not UTF-8.
pub fn read_text(path: &Path, limit: u64, hint: &str) -> Result<String> {
    read(path, limit, hint).and_then(|bytes| text(path, bytes, hint))
}

/// Like [`read_text`], but returns `None` if there is no such file.
///
/// # Errors
/// Those of [`read_text`], except [`Error::Missing`].
pub fn read_text_if_there(path: &Path, limit: u64, hint: &str) -> Result<Option<String>> {
    read_if_there(path, limit, hint)?.map(|bytes| text(path, bytes, hint)).transpose()
}

fn text(path: &Path, bytes: Vec<u8>, hint: &str) -> Result<String> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Error::file(path, format!("is not valid UTF-8 at byte {at}"), hint)
    })
}

fn check(path: &Path, facts: io::Result<Metadata>, hint: &str) -> Result<Metadata> {
    let facts = facts.map_err(|error| unreadable(path, &error, hint))?;
    if !facts.is_file() {
        let hint = "give a regular file, not a directory, a pipe or a device";
        return Err(Error::file(path, "is not a regular file", hint));
    }
    Ok(facts)
}

fn unreadable(path: &Path, error: &io::Error, hint: &str) -> Error {
    match error.kind() {
        // `a/b` where `a` is a file.
        ErrorKind::NotFound | ErrorKind::NotADirectory => Error::missing(path, error, hint),
        _ => Error::file(path, error, hint),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rstest::rstest;
    use tempfile::{TempDir, tempdir};

    use super::*;

    fn file(content: &[u8]) -> (TempDir, PathBuf) {
        let folder = tempdir().unwrap();
        let path = folder.path().join("a.json");
        fs::write(&path, content).unwrap();
        (folder, path)
    }

    /// The error's line without the path, and its hint.
    fn problem<T: std::fmt::Debug>(path: &Path, result: Result<T>) -> (String, String) {
        let error = result.unwrap_err();
        let line = error.to_string();
        let problem = line.strip_prefix(&format!("{}: ", path.display())).unwrap_or_else(|| panic!("{line}"));
        (problem.to_owned(), error.hint().unwrap().to_owned())
    }

    #[rstest]
    #[case::empty(b"", 0)]
    #[case::under_the_limit(b"abc", 4)]
    #[case::at_the_limit(b"abc", 3)]
    #[case::no_limit(b"abc", u64::MAX)]
    fn a_file_up_to_the_limit_is_read_completely(#[case] content: &[u8], #[case] limit: u64) {
        let (_folder, path) = file(content);
        assert_eq!(read(&path, limit, "x").unwrap(), content);
        assert_eq!(read_if_there(&path, limit, "x").unwrap().unwrap(), content);
        assert_eq!(read_text(&path, limit, "x").unwrap().as_bytes(), content);
        assert_eq!(read_text_if_there(&path, limit, "x").unwrap().unwrap().as_bytes(), content);
    }

    #[test]
    fn a_file_past_the_limit_is_refused() {
        let (_folder, path) = file(b"abc");
        let (line, hint) = problem(&path, read_if_there(&path, 2, "x"));
        assert_eq!(line, "is larger than the limit of 2 bytes");
        assert_eq!(hint, "check that this is the right file");
    }

    /// `/proc` reports a length of 0 for files that have content.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_limit_applies_to_content_beyond_the_length_in_the_metadata() {
        let path = Path::new("/proc/self/status");
        assert_eq!(fs::metadata(path).unwrap().len(), 0);
        assert_eq!(problem(path, read(path, 10, "x")).0, "is larger than the limit of 10 bytes");
    }

    #[rstest]
    #[case::no_such_file("b.json")]
    #[case::below_a_file("a.json/b.json")]
    fn a_missing_file_is_missing_or_none(#[case] name: &str) {
        let (folder, _) = file(b"");
        let path = folder.path().join(name);
        let error = read(&path, 9, "fetch it").unwrap_err();
        assert!(matches!(&error, Error::Missing { path: at, .. } if *at == path), "{error:?}");
        assert_eq!(error.hint(), Some("fetch it"));
        assert_eq!(read_if_there(&path, 9, "x").unwrap(), None);
        assert_eq!(read_text_if_there(&path, 9, "x").unwrap(), None);
    }

    #[test]
    fn a_directory_is_refused() {
        let folder = tempdir().unwrap();
        let (line, hint) = problem(folder.path(), read_if_there(folder.path(), 9, "x"));
        assert_eq!(line, "is not a regular file");
        assert_eq!(hint, "give a regular file, not a directory, a pipe or a device");
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_is_refused_without_waiting_for_a_writer() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let (send, answer) = std::sync::mpsc::channel();
        let at = path.clone();
        std::thread::spawn(move || send.send(read(&at, 9, "x")));
        let read = answer.recv_timeout(std::time::Duration::from_secs(20)).expect("it blocks");
        assert_eq!(problem(&path, read).0, "is not a regular file");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_a_regular_file_is_read() {
        let (folder, path) = file(b"abc");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(read(&link, 9, "x").unwrap(), b"abc");
    }

    #[test]
    fn invalid_utf_8_is_refused_with_its_byte_offset() {
        let (_folder, path) = file(b"ab\xffc");
        for read in [read_text(&path, 9, "x").map(drop), read_text_if_there(&path, 9, "x").map(drop)] {
            assert_eq!(problem(&path, read), ("is not valid UTF-8 at byte 2".into(), "x".into()));
        }
    }
}
