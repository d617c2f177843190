//! Files written whole or not at all, whatever happens meanwhile.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How the name of a file ends that is not yet what it is to be. Nobody reads such a file.
const UNFINISHED: &str = ".rbees-check-new";

/// What this run has written. Locked while it writes.
static WRITTEN: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// What has been written so far. Waits for a file that is being written; while the answer is held,
/// none is begun.
pub fn written() -> MutexGuard<'static, Vec<PathBuf>> {
    WRITTEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes `bytes` to `path`: under another name first, which then becomes `path`. What is no file but
/// a pipe or a device gets them as they are.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut written = written();
    if fs::metadata(path).is_ok_and(|facts| !facts.is_file() && !facts.is_dir()) {
        return fs::OpenOptions::new().write(true).open(path)?.write_all(bytes);
    }
    // A link stays one: what it points to is replaced.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let (name, mut file) = unfinished(&path)?;
    let moved = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&name, &path));
    if moved.is_err() {
        let _ = fs::remove_file(&name);
    }
    moved.map(|()| written.push(path))
}

/// Could `path` be written? Tries, and leaves nothing behind; removes what killed runs have left.
pub fn writable(path: &Path) -> io::Result<()> {
    let _writing = written();
    match fs::metadata(path) {
        Ok(facts) if facts.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(facts) if !facts.is_file() => Ok(()),
        _ => {
            sweep(folder(path));
            let (name, _file) = unfinished(path)?;
            fs::remove_file(name)
        }
    }
}

/// Removes the unfinished files of runs that are gone: a living one holds a lock on its own.
pub fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_unfinished = entry.file_name().to_string_lossy().ends_with(UNFINISHED);
        let abandoned = || File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok());
        if is_unfinished && abandoned() {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A new file beside `path`, locked.
fn unfinished(path: &Path) -> io::Result<(PathBuf, File)> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?.to_string_lossy();
    let name = folder(path).join(format!(".{name}.{}{UNFINISHED}", std::process::id()));
    let file = File::create(&name)?;
    // Where files cannot be locked, nobody can take the lock and remove it either.
    let _ = file.lock();
    Ok((name, file))
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
    fn a_file_is_replaced_and_nothing_lies_beside_it() {
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
    fn what_a_killed_run_left_is_removed_and_what_a_living_one_writes_is_not() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".report.json.1.rbees-check-new"), "half").unwrap();
        let (living, _lock) = unfinished(&folder.path().join("other.json")).unwrap();
        sweep(folder.path());
        assert_eq!(names(folder.path()), [living.file_name().unwrap().to_str().unwrap()]);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link_and_a_device_a_device() {
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

    #[test]
    fn a_folder_is_no_file_and_no_folder_holds_none() {
        let folder = tempfile::tempdir().unwrap();
        assert!(writable(folder.path()).is_err());
        assert!(writable(&folder.path().join("not/there.json")).is_err());
    }
}
