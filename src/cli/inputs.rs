//! The files that a run reads, which it must not overwrite.

use std::fs;
use std::path::{Path, PathBuf};

use super::files;

/// A file or directory that the run reads or writes, and the flag that names it.
pub type NamedFile<'a> = (&'static str, &'a Path);

/// The names of files that a model's directory may have, besides weights.
const OF_A_MODEL: [&str; 7] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "model.safetensors.index.json",
];

/// How writing the file `target` would change one of `inputs`: `--dump names the same file`. `None` if it would not.
pub fn overwritten(target: &Path, inputs: &[NamedFile<'_>]) -> Option<String> {
    inputs.iter().find_map(|&(flag, input)| {
        if files::is_same(target, input) {
            return Some(match flag {
                "settings" => "it is the settings file of this run".to_owned(),
                flag => format!("--{flag} names the same file"),
            });
        }
        is_read(target, flag, input)
            .then(|| format!("--{flag} reads it, or would read it, in {}", input.display()))
    })
}

/// Would a file with this name be read from the directory `input`?
fn is_read(target: &Path, flag: &str, input: &Path) -> bool {
    let (Some(target), Ok(folder)) = (real(target), fs::canonicalize(input)) else { return false };
    let (true, Ok(inside)) = (folder.is_dir(), target.strip_prefix(&folder)) else { return false };
    let name = inside.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if target.is_file() {
        return true;
    }
    match flag {
        // Every file in a directory of arrays, or of passes, is one of them.
        "dump" | "against" => !name.starts_with('.') && inside.components().count() <= 2,
        "model" => OF_A_MODEL.contains(&&name[..]) || name.ends_with(".safetensors"),
        _ => false,
    }
}

/// The path without links, of a file that may not exist yet.
fn real(path: &Path) -> Option<PathBuf> {
    fs::canonicalize(path).ok().or_else(|| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Some(fs::canonicalize(folder).ok()?.join(path.file_name()?))
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::an_array_of_a_dump("dump", "model.norm.npy", true)]
    #[case::a_new_file_in_a_dump("dump", "report.json", true)]
    #[case::in_a_pass("dump", "pass-1/report.json", true)]
    #[case::a_hidden_file("dump", ".report.json", false)]
    #[case::weights("model", "model.safetensors", true)]
    #[case::a_new_config("model", "generation_config.json", true)]
    #[case::a_new_report_beside_weights("model", "report.json", false)]
    #[case::a_reference("references", "short/manifest.json", true)]
    #[case::a_new_report_beside_references("references", "report.json", false)]
    #[case::elsewhere("dump", "../report.json", false)]
    fn a_file_that_is_read_is_not_overwritten(
        #[case] flag: &'static str,
        #[case] target: &str,
        #[case] refused: bool,
    ) {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("input");
        for sub in ["pass-1", "short"] {
            fs::create_dir_all(folder.join(sub)).unwrap();
        }
        for file in ["model.norm.npy", "model.safetensors", "short/manifest.json"] {
            fs::write(folder.join(file), "").unwrap();
        }
        assert_eq!(overwritten(&folder.join(target), &[(flag, &folder)]).is_some(), refused);
    }
}
