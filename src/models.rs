//! Opens a model by name or path: its weights, tokenizer and references.
//!
//! Two tiny models are compiled in, so that everything works from any directory. Tiny models of other settings and
//! families are in the repository. One real model is downloaded once. Any other model is given by its path.

mod contradictions;
mod embedded;
mod right;

use std::path::{Path, PathBuf};

pub use self::right::{config_without_weights, corrected, right_weights, scaling};
use crate::reference::{Fixture, Source};
#[cfg(feature = "cli")]
use crate::tokenizer::chat::ChatTemplate;
use crate::tokenizer::{Content, Tokenizer};
use crate::weights::Weights;
use crate::{Error, Result};

/// Every name that [`open`] accepts. All of these models have references.
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

/// The models whose directories, with their references, are in the repository.
const IN_REPOSITORY: [&str; 7] =
    ["tiny-llama3", "tiny-linear", "tiny-qwen2", "tiny-mistral", "tiny-qwen3", "tiny-gemma2", "tiny-gemma3"];

/// The models that are GGUF files in the repository, beside their references. A quantised file is a separate model.
/// Those of the families have other widths than the models in F16: a row of Q8_0 has a multiple of 32 weights.
const FILES_IN_REPOSITORY: [(&str, &str); 7] = [
    ("tiny-llama:q8_0", "tiny-llama/gguf/tiny-llama-q8_0.gguf"),
    ("tiny-llama3:q8_0", "tiny-llama3-q8_0/tiny-llama3-q8_0.gguf"),
    ("tiny-qwen2:q8_0", "tiny-qwen2-q8_0/tiny-qwen2-q8_0.gguf"),
    ("tiny-mistral:q8_0", "tiny-mistral-q8_0/tiny-mistral-q8_0.gguf"),
    ("tiny-qwen3:q8_0", "tiny-qwen3-q8_0/tiny-qwen3-q8_0.gguf"),
    ("tiny-gemma2:q8_0", "tiny-gemma2-q8_0/tiny-gemma2-q8_0.gguf"),
    ("tiny-gemma3:q8_0", "tiny-gemma3-q8_0/tiny-gemma3-q8_0.gguf"),
];

const SMOLLM2: &str = "smollm2-135m";
const SMOLLM2_FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const FETCH: &str = "run scripts/fetch_smollm2.sh (98 MB)";

/// A model, ready to be loaded onto a device.
#[derive(Debug)]
pub struct Model {
    /// Its name, or the path that it was opened from.
    pub name: String,
    /// Config and tensors.
    pub weights: Weights,
    /// Converts between text and token ids. A tokenizer that cannot be read is no reason not to judge numbers.
    pub tokenizer: Result<Tokenizer>,
    /// Its references, if it has any.
    pub fixture: Option<Fixture>,
}

/// Opens the model that `name` refers to: one of [`NAMES`], a `.gguf` file, or a Hugging Face directory.
///
/// # Errors
/// [`Error::Missing`] for a model that has not been downloaded yet. Other errors for an unknown name, a path
/// to something else, or damaged files.
pub fn open(name: &str) -> Result<Model> {
    if embedded::files(name).is_some() {
        return compiled_in(name);
    }
    let path = Path::new(name);
    match name {
        SMOLLM2 => {
            let file = fetched()?;
            if !file.is_file() {
                let what = format!("{SMOLLM2}: not downloaded yet");
                return Err(Error::Missing { path: file, what, hint: FETCH.into() });
            }
            at_path(name, &file, Some(fixture(name)?))
        }
        _ => match weights_in_repository(name) {
            Some(weights) => at_path(name, &in_repository(weights)?, Some(fixture(name)?)),
            None if path.exists() => at_path(name, path, None),
            None => Err(unknown(name)),
        },
    }
}

/// Where the weights of a model in the repository are, below `fixtures/`: a directory or a file.
fn weights_in_repository(name: &str) -> Option<&str> {
    let directory = IN_REPOSITORY.into_iter().find(|known| *known == name);
    let file = || FILES_IN_REPOSITORY.into_iter().find(|(known, _)| *known == name).map(|(_, file)| file);
    directory.or_else(file)
}

/// Whether the weights of this model are random numbers. What it writes is nonsense, which often repeats one token.
pub fn has_random_weights(name: &str) -> bool {
    weights_in_repository(name).is_some() && name != "tiny-llama:q8_0"
}

/// The references of the model `name`, one of [`NAMES`]. They are available without its weights.
///
/// # Errors
/// The name is unknown, or the references are missing.
pub fn fixture(name: &str) -> Result<Fixture> {
    if let Some((model, files)) = embedded::files(name) {
        return Fixture::open(Source::Embedded(model, files));
    }
    match name {
        SMOLLM2 => {
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(SMOLLM2);
            let folder = if source.is_dir() { source } else { home()?.join(SMOLLM2).join("references") };
            Fixture::open(Source::Folder(folder))
        }
        _ if weights_in_repository(name).is_none() => Err(unknown(name)),
        // No colon in a path: Windows has none.
        _ => Fixture::open(Source::Folder(in_repository(&name.replace(':', "-"))?)),
    }
}

/// Finds a path below the repository's `fixtures/`, or below [`home`].
fn in_repository(path: &str) -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(path);
    let found = if source.exists() { source } else { home()?.join(path) };
    if !found.exists() {
        let hint = "it is in the repository: copy its fixtures/ there, or run from a checkout";
        return Err(Error::missing(&found, "missing", hint));
    }
    Ok(found)
}

/// Opens the references that `name` refers to: those of a model of [`NAMES`], or a folder of captured ones.
///
/// # Errors
/// `name` is neither, or the folder has no cases.
pub fn references(name: &str) -> Result<Fixture> {
    if Path::new(name).is_dir() && !NAMES.contains(&name) {
        Fixture::open(Source::Folder(name.into()))
    } else {
        fixture(name)
    }
}

/// Where the weights of `name` are: `built in`, a file, or how to get them.
pub fn whereabouts(name: &str) -> String {
    if embedded::files(name).is_some() {
        return "built in".into();
    }
    if let Some(weights) = weights_in_repository(name) {
        return in_repository(weights).map_or_else(|error| error.to_string(), |_| "in the repository".into());
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

fn fetched() -> Result<PathBuf> {
    Ok(home()?.join(SMOLLM2).join(SMOLLM2_FILE))
}

fn unknown(name: &str) -> Error {
    let hint = format!(
        "known models are {}; or give the path of a .gguf file or a Hugging Face directory",
        NAMES.join(", ")
    );
    Error::input(format!("`{name}` is neither a known model nor a file"), hint)
}

fn at_path(name: &str, path: &Path, fixture: Option<Fixture>) -> Result<Model> {
    if path.is_file() && !path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf")) {
        let hint = "a model is a .gguf file, or a directory with config.json and safetensors";
        return Err(Error::file(path, "not a .gguf file", hint));
    }
    let weights = Weights::open(path)?;
    let tokenizer = match weights.gguf() {
        Some(file) => {
            let tokenizer = Tokenizer::from_gguf(&|key| file.metadata(key), name);
            tokenizer.and_then(|tokenizer| fitting(tokenizer, &weights))
        }
        None => Tokenizer::from_dir(path),
    };
    Ok(Model { name: name.to_owned(), weights, tokenizer, fixture }.with_chat_template())
}

/// The tokenizer of a GGUF file, whose vocabulary belongs to the embedding.
fn fitting(tokenizer: Tokenizer, weights: &Weights) -> Result<Tokenizer> {
    let (tokens, rows) = (tokenizer.vocab_size(), weights.config().vocab_size);
    if tokens <= rows {
        return Ok(tokenizer);
    }
    let what = format!("the vocabulary has {tokens} tokens, but the embedding has {rows} rows");
    Err(Error::file(weights.origin(), what, "convert the model again with llama.cpp"))
}

fn compiled_in(name: &str) -> Result<Model> {
    let text = |path: &str| String::from_utf8_lossy(embedded::file(name, path));
    let weights = Weights::from_parts(
        name,
        &text("config.json"),
        Some(&text("generation_config.json")),
        embedded::file(name, "model.safetensors"),
    )?;
    let tokenizer = Tokenizer::from_json(embedded::file(name, "tokenizer.json"), name);
    let fixture = Some(fixture(name)?);
    Ok(Model { name: name.to_owned(), weights, tokenizer, fixture }.with_chat_template())
}

impl Model {
    /// The tokenizer.
    ///
    /// # Errors
    /// It could not be read.
    pub fn tokenizer(&self) -> Result<&Tokenizer> {
        self.tokenizer.as_ref().map_err(Error::copy)
    }

    /// What is in the files of the tokenizer, which need not be one that can be used.
    pub(crate) fn tokenizer_content(&self) -> Content {
        let content = match self.weights.gguf() {
            Some(file) => Content::of_gguf(&|key| file.metadata(key)),
            None => Content::of_dir(self.weights.origin()),
        };
        content.with_chat_template(self.template().as_deref())
    }
}

#[cfg(not(feature = "cli"))]
impl Model {
    fn with_chat_template(self) -> Self {
        self
    }

    fn template(&self) -> Option<String> {
        None
    }
}

#[cfg(feature = "cli")]
impl Model {
    /// Adds the chat template to the tokenizer, so that it is compared with the references. What is wrong with it is
    /// said where it is used.
    fn with_chat_template(mut self) -> Self {
        let template = self.template();
        if let Ok(tokenizer) = &mut self.tokenizer {
            tokenizer.set_chat_template(template);
        }
        self
    }

    fn template(&self) -> Option<String> {
        self.chat_template().ok().map(|template| template.source().to_owned())
    }

    /// The chat template, which turns a user's message into a prompt.
    ///
    /// # Errors
    /// The model has none.
    pub fn chat_template(&self) -> Result<ChatTemplate> {
        match self.weights.gguf() {
            Some(file) => ChatTemplate::from_gguf(&|key| file.metadata(key), &self.name),
            None if embedded::files(&self.name).is_some() => {
                let config = String::from_utf8_lossy(embedded::file(&self.name, "tokenizer_config.json"));
                ChatTemplate::from_tokenizer_config(&config, &self.name)
            }
            None => ChatTemplate::from_dir(self.weights.origin()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_references() {
        for name in NAMES {
            assert!(!fixture(name).unwrap().cases.is_empty(), "{name}");
        }
    }

    #[test]
    fn the_error_for_an_unknown_name_lists_the_known_names() {
        let error = open("tiny-lama").unwrap_err();
        assert!(error.hint().unwrap().contains("tiny-llama2"));
    }

    #[test]
    fn the_error_for_a_file_that_is_not_a_model_names_the_file() {
        let error = open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap_err();
        assert!(error.to_string().ends_with("Cargo.toml: not a .gguf file"), "{error}");
    }
}
