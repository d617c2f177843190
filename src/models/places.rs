//! Where the known models are: compiled in, in the repository, or downloaded.

use std::path::{Path, PathBuf};

use super::embedded;
use crate::{Error, Result};

/// Every name that [`open`](super::open) accepts. All of these models have references.
pub const NAMES: [&str; 17] = [
    "tiny-llama",
    "tiny-llama2",
    "tiny-llama:q8_0",
    "tiny-llama3",
    "tiny-linear",
    "tiny-qwen2",
    "tiny-mistral",
    "tiny-qwen3",
    "tiny-gemma2",
    "tiny-gemma3",
    "tiny-llama3:q8_0",
    "tiny-qwen2:q8_0",
    "tiny-mistral:q8_0",
    "tiny-qwen3:q8_0",
    "tiny-gemma2:q8_0",
    "tiny-gemma3:q8_0",
    SMOLLM2,
];

/// A model in the repository, beside its references.
pub(super) struct Stored {
    name: &'static str,
    /// Its directory or GGUF file, below `fixtures/`.
    pub weights: &'static str,
    /// Whether its weights are random numbers.
    random: bool,
}

const fn trained(name: &'static str, weights: &'static str) -> Stored {
    Stored { name, weights, random: false }
}

const fn random(name: &'static str, weights: &'static str) -> Stored {
    Stored { name, weights, random: true }
}

/// The models in the repository. A quantised file is a separate model. Those of the families have other widths than the
/// models in F16: a row of Q8_0 has a multiple of 32 weights.
const STORED: [Stored; 14] = [
    trained("tiny-llama:q8_0", "tiny-llama/gguf/tiny-llama-q8_0.gguf"),
    random("tiny-llama3", "tiny-llama3"),
    random("tiny-linear", "tiny-linear"),
    random("tiny-qwen2", "tiny-qwen2"),
    random("tiny-mistral", "tiny-mistral"),
    random("tiny-qwen3", "tiny-qwen3"),
    random("tiny-gemma2", "tiny-gemma2"),
    random("tiny-gemma3", "tiny-gemma3"),
    random("tiny-llama3:q8_0", "tiny-llama3-q8_0/tiny-llama3-q8_0.gguf"),
    random("tiny-qwen2:q8_0", "tiny-qwen2-q8_0/tiny-qwen2-q8_0.gguf"),
    random("tiny-mistral:q8_0", "tiny-mistral-q8_0/tiny-mistral-q8_0.gguf"),
    random("tiny-qwen3:q8_0", "tiny-qwen3-q8_0/tiny-qwen3-q8_0.gguf"),
    random("tiny-gemma2:q8_0", "tiny-gemma2-q8_0/tiny-gemma2-q8_0.gguf"),
    random("tiny-gemma3:q8_0", "tiny-gemma3-q8_0/tiny-gemma3-q8_0.gguf"),
];

pub(super) const SMOLLM2: &str = "smollm2-135m";
const SMOLLM2_FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
pub(super) const FETCH: &str = "run scripts/fetch_smollm2.sh (98 MB)";

/// The model of this name in the repository.
pub(super) fn stored(name: &str) -> Option<&'static Stored> {
    STORED.iter().find(|model| model.name == name)
}

/// Whether the weights of this model are random numbers. What it writes is nonsense, which often repeats one token.
pub fn has_random_weights(name: &str) -> bool {
    stored(name).is_some_and(|model| model.random)
}

/// Finds a path below the repository's `fixtures/`, or below [`home`].
pub(super) fn in_repository(path: &str) -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(path);
    let found = if source.exists() { source } else { home()?.join(path) };
    if !found.exists() {
        let hint = "it is in the repository: copy its fixtures/ there, or run from a checkout";
        return Err(Error::missing(&found, "missing", hint));
    }
    Ok(found)
}

/// Where the weights of `name` are: `built in`, a file, or how to get them.
pub fn whereabouts(name: &str) -> String {
    if embedded::files(name).is_some() {
        return "built in".into();
    }
    if let Some(model) = stored(name) {
        return in_repository(model.weights)
            .map_or_else(|error| error.to_string(), |_| "in the repository".into());
    }
    match fetched() {
        Ok(file) if file.is_file() => file.display().to_string(),
        Ok(_) => format!("not downloaded: {FETCH}"),
        Err(error) => error.to_string(),
    }
}

/// The directory for downloaded models and stored verdicts: `$RBEES_HOME`, otherwise `rbees-check` in the
/// user's cache directory.
///
/// # Errors
/// None of the environment variables that determine it is set.
pub fn home() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("RBEES_HOME")
        .or_else(|| Some(set("XDG_CACHE_HOME")?.join("rbees-check")))
        .or_else(|| Some(set("HOME")?.join(".cache/rbees-check")))
        .ok_or_else(|| {
            Error::input(
                "HOME is not set, so the folder for models is unknown",
                "set RBEES_HOME to a directory",
            )
        })
}

/// Where the downloaded model is, or would be.
pub(super) fn fetched() -> Result<PathBuf> {
    Ok(home()?.join(SMOLLM2).join(SMOLLM2_FILE))
}
