//! Several passes in one directory: `pass-0.safetensors`, `pass-1.safetensors` and so on, in any form of a recording.

use std::path::{Path, PathBuf};

use crate::arrays::Arrays;
use crate::{Error, Result};

/// What the name of a pass begins with.
const PREFIX: &str = "pass-";

/// The passes in the directory `path`, by their numbers, in ascending order. Empty if it is no directory of passes.
///
/// # Errors
/// The directory cannot be read; two entries are the same pass; an entry is something else.
pub fn passes_in(path: &Path) -> Result<Vec<(usize, PathBuf)>> {
    if !path.is_dir() {
        return Ok(vec![]);
    }
    let unreadable = |error: std::io::Error| Error::file(path, error, "check its permissions");
    let (mut passes, mut others): (Vec<(usize, PathBuf)>, Vec<PathBuf>) = (vec![], vec![]);
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?.path();
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match number(&entry) {
            Some(number) => passes.push((number, entry)),
            None if name.starts_with('.') => {}
            None => others.push(entry),
        }
    }
    passes.sort();
    let hint =
        "give a directory with one recording per pass: pass-0.safetensors, pass-1.safetensors and so on";
    match (&passes[..], others.iter().min()) {
        ([], _) => {}
        (_, Some(other)) => {
            return Err(Error::file(other, "it is not a pass, but its directory has passes", hint));
        }
        _ => {}
    }
    if let Some(pair) = passes.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let what = format!("it is pass {} too, as {} is", pair[1].0, pair[0].1.display());
        return Err(Error::file(&pair[1].1, what, hint));
    }
    Ok(passes)
}

/// The number of a pass, from the name of its file or directory.
fn number(path: &Path) -> Option<usize> {
    let stem = if path.is_dir() { path.file_name() } else { path.file_stem() }?.to_str()?;
    let digits = stem.strip_prefix(PREFIX)?;
    let plain = digits.len() <= 9 && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| plain && Arrays::knows(path))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        names.iter().for_each(|name| fs::write(folder.path().join(name), "").unwrap());
        folder
    }

    #[test]
    fn passes_are_in_the_order_of_their_numbers() {
        let folder = folder(&["pass-10.npz", "pass-9.safetensors", ".partial"]);
        fs::create_dir(folder.path().join("pass-2")).unwrap();
        let numbers: Vec<usize> = passes_in(folder.path()).unwrap().into_iter().map(|(n, _)| n).collect();
        assert_eq!(numbers, [2, 9, 10]);
    }

    #[test]
    fn a_directory_of_arrays_has_no_passes() {
        let folder = folder(&["model.norm.npy", "pass-1.txt"]);
        assert!(passes_in(folder.path()).unwrap().is_empty());
        assert!(passes_in(&folder.path().join("missing")).unwrap().is_empty());
    }

    #[test]
    fn other_files_beside_passes_and_two_recordings_of_a_pass_are_refused() {
        let says = |names: &[&str], what: &str| {
            let error = passes_in(folder(names).path()).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        };
        says(&["pass-0.npz", "model.norm.npy"], "it is not a pass, but its directory has passes");
        says(&["pass-0.npz", "pass-00.npz"], "it is pass 0 too");
    }
}
