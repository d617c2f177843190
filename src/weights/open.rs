//! Opens weight files and checks them against their configuration.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::config::Parsed;
use super::errors::WHAT_A_MODEL_IS;
use super::gguf::Gguf;
use super::safetensors::Shards;
use super::{Config, PART, Source, Weights, config};
use crate::{Error, Result, files};

/// The largest `config.json` or `generation_config.json` that is read, in bytes. Real ones have about 1,000.
const CONFIG_LIMIT: u64 = 1 << 20;

impl Weights {
    /// Opens a `.gguf` file or a directory with `config.json` and safetensors.
    ///
    /// # Errors
    /// When it is neither, is damaged, is not a Llama, has numbers that contradict each other, or lacks a
    /// tensor that its configuration requires.
    pub fn open(path: &Path) -> Result<Self> {
        if path.is_dir() {
            let mut texts = vec![("config.json".to_owned(), config_text(path)?)];
            let generation = "generation_config.json";
            let text = files::read_text_if_there(&path.join(generation), CONFIG_LIMIT, WHAT_A_MODEL_IS)?;
            texts.extend(text.map(|text| (generation.to_owned(), text)));
            return Self::assemble(path, texts, || Shards::open(path));
        }
        if path.extension().is_some_and(|end| end == "safetensors") {
            return Err(Error::file(
                path,
                "is only a part of a model",
                "pass the directory that contains it",
            ));
        }
        let file = Gguf::open(path)?;
        let parsed = config::from_gguf(&file)?;
        Self::checked(path, parsed, Source::Gguf(file), Vec::new())
    }

    /// Opens a directory that contains part of a model, which its `config.json` declares with the key
    /// [`PART`]. A missing tensor is an error only when it is requested.
    ///
    /// # Errors
    /// As for [`Weights::open`], except for missing tensors; also if `config.json` does not declare a part.
    pub fn open_part(path: &Path) -> Result<Self> {
        let (file, hint) = (path.join("config.json"), "give the directory that a bundle was unpacked into");
        let text = config_text(path)?;
        let config: serde_json::Value =
            files::python_json(&text).map_err(|error| Error::file(&file, error, hint))?;
        if config.get(PART).is_none() {
            return Err(Error::file(&file, format!("it has no {PART}"), hint));
        }
        let Parsed { config, notes } = config::from_json(&text, None, &file.to_string_lossy())?;
        let shards = unpacked(&text, &file, Shards::open(path)?)?;
        let source = Arc::new(Source::Shards(shards));
        let texts = vec![("config.json".to_owned(), text)];
        let this = Self { origin: path.to_owned(), config, source, texts, notes, replaced: BTreeMap::new() };
        match this.lint().into_iter().find(|clause| !clause.ends_with(" is missing")) {
            None => Ok(this),
            Some(clause) => Err(Error::file(path, clause, hint)),
        }
    }

    /// Weights that are compiled into the program; `name` is used instead of a path in messages.
    ///
    /// # Errors
    /// As [`Weights::open`].
    pub fn from_parts(
        name: &str,
        config_json: &str,
        generation_config: Option<&str>,
        safetensors: &'static [u8],
    ) -> Result<Self> {
        let generation = generation_config.map(|text| ("generation_config.json".to_owned(), text.to_owned()));
        let texts =
            [("config.json".to_owned(), config_json.to_owned())].into_iter().chain(generation).collect();
        Self::assemble(Path::new(name), texts, || Shards::from_static(name, safetensors))
    }

    fn assemble(
        origin: &Path,
        texts: Vec<(String, String)>,
        shards: impl FnOnce() -> Result<Shards>,
    ) -> Result<Self> {
        let generation = texts.get(1).map(|(_, text)| text.as_str());
        let file = origin.join("config.json");
        let mut parsed = config::from_json(&texts[0].1, generation, &file.to_string_lossy())?;
        let mut shards = unpacked(&texts[0].1, &file, shards()?)?;
        parsed.notes.extend(shards.notes().iter().cloned());
        parsed.notes.extend(tie(&mut parsed.config, &mut shards)?);
        Self::checked(origin, parsed, Source::Shards(shards), texts)
    }

    fn checked(origin: &Path, parsed: Parsed, source: Source, texts: Vec<(String, String)>) -> Result<Self> {
        let (origin, source) = (origin.to_owned(), Arc::new(source));
        let Parsed { config, notes } = parsed;
        let this = Self { origin, config, source, texts, notes, replaced: BTreeMap::new() };
        let wrong = this.lint();
        match wrong.as_slice() {
            [] => Ok(this),
            [first, rest @ ..] => {
                let more =
                    if rest.is_empty() { String::new() } else { format!(" (and {} more)", rest.len()) };
                let hint = "configuration and tensors do not belong together, or the file is damaged: fetch it again";
                Err(Error::file(&this.origin, format!("{first}{more}"), hint))
            }
        }
    }
}

/// If the config ties the matrix of the logits to the embedding, but the files contain only the one, or both with
/// different values: does what transformers 5 does, and returns a note about it.
fn tie(config: &mut Config, shards: &mut Shards) -> Result<Option<String>> {
    let (embedding, head) = ("model.embed_tokens.weight", "lm_head.weight");
    let (there, head_there) = (shards.shape(embedding).is_some(), shards.shape(head).is_some());
    if !config.tie_word_embeddings || !head_there {
        return Ok(None);
    }
    if !there {
        shards.share(head, embedding);
        return Ok(Some(format!(
            "`{embedding}` is missing, so `{head}` is used for both, as the config ties them"
        )));
    }
    if shards.equal(embedding, head)? {
        return Ok(None);
    }
    config.tie_word_embeddings = false;
    Ok(Some(format!(
        "config.json has tie_word_embeddings true, but `{head}` and `{embedding}` have different values: both are used as they are, as in transformers 5"
    )))
}

/// Returns the shards, unless they are still packed and `text`, the content of the config `file`, names a
/// quantisation method.
fn unpacked(text: &str, file: &Path, shards: Shards) -> Result<Shards> {
    if let Some((name, dtype)) = shards.first_packed() {
        config::refuse_packed(text, &file.to_string_lossy(), name, dtype)?;
    }
    Ok(shards)
}

fn config_text(dir: &Path) -> Result<String> {
    files::read_text(&dir.join("config.json"), CONFIG_LIMIT, WHAT_A_MODEL_IS)
}
