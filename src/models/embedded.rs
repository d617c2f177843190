//! The models that are compiled in, file by file. A file that is not listed here is not in the program.

/// For each file, its path below the model's folder in `fixtures/`, and its content.
pub(super) type EmbeddedFiles = &'static [(&'static str, &'static [u8])];

macro_rules! files {
    ($model:literal: $($path:literal)*) => {
        &[$(($path, include_bytes!(concat!("../../fixtures/", $model, "/", $path)).as_slice()),)*]
    };
}

/// Name and files of each model.
const MODELS: &[(&str, EmbeddedFiles)] = &[("tiny-llama", TINY_LLAMA), ("tiny-llama2", TINY_LLAMA2)];

const TINY_LLAMA: EmbeddedFiles = files!("tiny-llama":
    "config.json" "generation_config.json" "model.safetensors" "tokenizer.json" "tokenizer_config.json"
    "facts.json" "tokens.json" "greedy.json" "sampling.json" "sampling.npz"
    "batch-left/manifest.json" "batch-left/noise.npz" "batch-left/reference.npz"
    "far/manifest.json" "far/noise.npz" "far/reference.npz"
    "long/manifest.json" "long/noise.npz" "long/reference.npz"
    "short/manifest.json" "short/noise.npz" "short/reference.npz"
    "single/manifest.json" "single/noise.npz" "single/reference.npz"
);

const TINY_LLAMA2: EmbeddedFiles = files!("tiny-llama2":
    "config.json" "generation_config.json" "model.safetensors" "tokenizer.json" "tokenizer_config.json"
    "facts.json" "tokens.json" "greedy.json" "sampling.json" "sampling.npz"
    "batch-right/manifest.json" "batch-right/noise.npz" "batch-right/reference.npz"
    "short/manifest.json" "short/noise.npz" "short/reference.npz"
);

/// The name of the model `name` as a `'static` string, and its files.
pub(super) fn files(name: &str) -> Option<(&'static str, EmbeddedFiles)> {
    MODELS.iter().find(|(model, _)| *model == name).copied()
}

/// One file of the model `name`; empty if it is not listed.
pub(super) fn file(name: &str, path: &str) -> &'static [u8] {
    let files = files(name).map_or(&[][..], |(_, files)| files);
    files.iter().find(|(listed, _)| *listed == path).map_or(&[], |(_, bytes)| bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// Collects every file below `folder` by its path; GGUF variants are not compiled in.
    fn below(folder: &Path, prefix: &str, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if !entry.path().is_dir() {
                found.insert(path);
            } else if path != "gguf" {
                below(&entry.path(), &format!("{path}/"), found);
            }
        }
    }

    #[test]
    fn the_table_lists_exactly_the_files_in_the_folder() {
        for (model, files) in MODELS {
            let mut folder = BTreeSet::new();
            below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(model), "", &mut folder);
            let table: BTreeSet<String> = files.iter().map(|(path, _)| (*path).to_owned()).collect();
            assert_eq!(table, folder, "{model}");
        }
    }
}
