//! Writes files atomically: a file is complete or absent, even if the program is interrupted.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::{Builder, NamedTempFile};

/// Suffix of temporary files. Only a killed run leaves one behind.
const UNFINISHED: &str = ".rbees-check-new";

/// The files that this run has written. Locked while one is being written.
static WRITTEN: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// The files written so far. Waits for a file that is being written; while the returned guard is alive,
/// no write starts.
pub fn written() -> MutexGuard<'static, Vec<PathBuf>> {
    WRITTEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes `bytes` to a temporary file in the folder of `path`, then renames it to `path`. Pipes and devices
/// are written directly.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut written = written();
    if fs::metadata(path).is_ok_and(|facts| !facts.is_file() && !facts.is_dir()) {
        return fs::OpenOptions::new().write(true).open(path)?.write_all(bytes);
    }
    // A symbolic link is kept: the file that it points to is replaced.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut temporary = unfinished(&path)?;
    let file = temporary.as_file_mut();
    file.write_all(bytes)?;
    file.sync_all()?;
    temporary.persist(&path)?;
    written.push(path);
    Ok(())
}

/// Checks that `path` can be written, leaving nothing behind. Also removes temporary files of killed runs.
pub fn writable(path: &Path) -> io::Result<()> {
    let _writing = written();
    match fs::metadata(path) {
        Ok(facts) if facts.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(facts) if !facts.is_file() => Ok(()),
        _ => {
            sweep(folder(path));
            unfinished(path)?.close()
        }
    }
}

/// Whether two paths name the same file, which need not exist yet.
pub fn is_same(one: &Path, two: &Path) -> bool {
    let real = |path: &Path| {
        let inside = || Some(fs::canonicalize(folder(path)).ok()?.join(path.file_name()?));
        fs::canonicalize(path).ok().or_else(inside)
    };
    one == two || real(one).is_some_and(|one| real(two) == Some(one))
}

/// Removes the temporary files of killed runs. A run that is still writing holds a lock on its file.
pub fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        // Opening a pipe with that name would block.
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        let is_unfinished = is_file && entry.file_name().to_string_lossy().ends_with(UNFINISHED);
        let abandoned = || File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok());
        if is_unfinished && abandoned() {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Creates a new, locked temporary file in the folder of `path`. It is removed when dropped.
fn unfinished(path: &Path) -> io::Result<NamedTempFile> {
    let mut prefix = OsString::from(".");
    prefix.push(path.file_name().ok_or(io::ErrorKind::InvalidFilename)?);
    prefix.push(".");
    // `tempfile_in` would make it readable by its owner only, and would show its name in errors.
    let file = Builder::new()
        .prefix(&prefix)
        .suffix(UNFINISHED)
        .make_in(folder(path), |name| File::create_new(name))?;
    // On file systems without locks, no other run can lock it either, so none removes it.
    let _ = file.as_file().lock();
    Ok(file)
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn writing_replaces_a_file_and_leaves_no_other_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("report.json");
        for text in ["first", "second"] {
            write(&file, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
        writable(&file).unwrap();
        assert_eq!(names(folder.path()), ["report.json"]);
    }

    #[test]
    fn sweep_removes_files_of_killed_runs_but_not_those_being_written() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".report.json.1.rbees-check-new"), "half").unwrap();
        let (_, killed) = unfinished(&folder.path().join("report.json")).unwrap().keep().unwrap();
        assert_eq!(names(folder.path()).len(), 2);
        let living = unfinished(&folder.path().join("other.json")).unwrap();
        sweep(folder.path());
        assert!(!killed.exists());
        assert_eq!(names(folder.path()), [living.path().file_name().unwrap().to_str().unwrap()]);
    }

    #[cfg(unix)]
    #[test]
    fn writing_keeps_links_and_devices() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("report.json"), folder.path().join("link.json"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write(&link, b"new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        write(Path::new("/dev/null"), b"gone").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    /// Anyone whom the umask allows can read a report.
    #[cfg(unix)]
    #[test]
    fn a_file_has_the_permissions_of_any_new_file() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let (ours, plain) = (folder.path().join("report.json"), folder.path().join("plain"));
        write(&ours, b"x").unwrap();
        fs::write(&plain, "x").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }

    #[test]
    fn a_failed_write_leaves_no_file_and_its_error_hides_the_temporary_name() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("taken")).unwrap();
        for name in ["taken", "no/such/r.json"] {
            let error = write(&folder.path().join(name), b"x").unwrap_err().to_string();
            assert!(!error.contains("rbees-check-new"), "{error}");
        }
        assert_eq!(names(folder.path()), ["taken"]);
    }

    #[test]
    fn a_folder_or_a_file_in_a_missing_folder_is_not_writable() {
        let folder = tempfile::tempdir().unwrap();
        assert!(writable(folder.path()).is_err());
        assert!(writable(&folder.path().join("not/there.json")).is_err());
    }
}
