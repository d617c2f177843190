//! Opens a model by name or path: its weights, tokenizer and references.
//!
//! Two tiny models are compiled in, so that everything works from any directory. Tiny models of other settings and
//! families are in the repository. One real model is downloaded once. Any other model is given by its path.

mod contradictions;
mod embedded;
mod places;
mod right;

use std::path::Path;

use self::places::{FETCH, SMOLLM2, fetched, in_repository, stored};
pub use self::places::{NAMES, has_random_weights, home, whereabouts};
pub use self::right::{config_without_weights, corrected, right_weights, scaling};
use crate::reference::{Fixture, Source};
#[cfg(feature = "cli")]
use crate::tokenizer::chat::ChatTemplate;
use crate::tokenizer::{Content, Tokenizer};
use crate::weights::Weights;
use crate::{Error, Result};

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
        _ => match stored(name) {
            Some(model) => at_path(name, &in_repository(model.weights)?, Some(fixture(name)?)),
            None if path.exists() => at_path(name, path, None),
            None => Err(unknown(name)),
        },
    }
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
        _ if stored(name).is_none() => Err(unknown(name)),
        // No colon in a path: Windows has none.
        _ => Fixture::open(Source::Folder(in_repository(&name.replace(':', "-"))?)),
    }
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
