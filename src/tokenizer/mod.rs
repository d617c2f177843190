//! Converts between text and token ids, and renders chat templates.
//!
//! The `tokenizers` crate does the splitting and merging. This module translates GGUF vocabularies into its
//! format, and refuses input that would make it panic or guess.

mod allowed;
#[cfg(feature = "cli")]
pub mod chat;
mod gguf;
mod gguf_content;
mod guard;
mod identity;
mod merges;
mod split;
mod stream;

use std::collections::HashSet;
use std::path::Path;

use serde_json::Value;

pub use self::gguf::Metadata;
use self::guard::guarded;
pub use self::identity::{Content, Hashes};
pub use self::stream::Stream;
use crate::{Error, Result, files};

/// The name of the file in a model's directory.
const FILE: &str = "tokenizer.json";

/// Size limit for a `tokenizer.json`, in bytes. Gemma 3's, with 262,000 tokens, has 33 MB.
const LIMIT: u64 = 256 << 20;

/// A model's tokenizer.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    origin: String,
    /// Ids that [`Tokenizer::decode_skipping_special`] leaves out.
    special: HashSet<u32>,
    notes: Vec<String>,
    /// The chat template that belongs to it.
    template: Option<String>,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`. `origin` names it in messages.
    ///
    /// # Errors
    /// It is not a tokenizer.json, contradicts itself, or contains another model than BPE (every Llama uses
    /// BPE) or another part that is not supported.
    pub fn from_json(json: &[u8], origin: &str) -> Result<Self> {
        let json = files::python_json(json).map_err(|e| damaged(origin, e))?;
        Self::build(json, origin)
    }

    /// Truncation and padding are not applied: transformers resets them before each text.
    fn build(mut json: Value, origin: &str) -> Result<Self> {
        let mut notes = Vec::new();
        for key in ["truncation", "padding"] {
            if let Some(setting) = json.get_mut(key).map(Value::take).filter(|setting| !setting.is_null()) {
                let setting: String = setting.to_string().chars().take(200).collect();
                notes.push(format!("{key} {setting} of the tokenizer is not applied, as in transformers"));
            }
        }
        allowed::check(&json).map_err(|e| damaged(origin, e))?;
        let inner = guarded(|| serde_json::from_value::<tokenizers::Tokenizer>(json));
        let inner = inner.map_err(|e| damaged(origin, e))?.map_err(|e| damaged(origin, e))?;
        let added = inner.get_added_tokens_decoder();
        let special = added.iter().filter(|(_, token)| token.special).map(|(&id, _)| id).collect();
        Ok(Self { inner, origin: origin.to_owned(), special, notes, template: None })
    }

    /// What a user should know about how the file was read, one line each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Reads the `tokenizer.json` in a model's directory.
    ///
    /// # Errors
    /// It is missing, or as for [`Tokenizer::from_json`].
    pub fn from_dir(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        let hint = "save the model's fast tokenizer in this folder: transformers' `save_pretrained` writes tokenizer.json";
        let json = files::read(&path, LIMIT, hint)?;
        Self::from_json(&json, &path.to_string_lossy())
    }

    /// Reads the vocabulary in GGUF metadata, looked up by key: `&|key| file.metadata(key)`.
    ///
    /// Splitting follows `tokenizer.ggml.pre`, as in llama.cpp. A text gets BOS and EOS according to
    /// `add_bos_token` and `add_eos_token` (by default, BOS for `llama` and `llama-bpe`). Control tokens in
    /// the text are recognised.
    ///
    /// # Errors
    /// There is no vocabulary, or it is damaged or not supported.
    pub fn from_gguf(metadata: Metadata<'_>, origin: &str) -> Result<Self> {
        Self::build(gguf::to_json(metadata, origin)?, origin)
    }

    /// The tokenizer as the content of a `tokenizer.json`, which [`Tokenizer::from_json`] can read.
    ///
    /// # Errors
    /// A part of it cannot be written in this format.
    pub fn json(&self) -> Result<Value> {
        let text =
            self.inner.to_string(false).map_err(|e| Error::file(&self.origin, e, "report the tokenizer"))?;
        serde_json::from_str(&text).map_err(|e| Error::file(&self.origin, e, "report the tokenizer"))
    }

    /// Converts text to ids. With `add_special_tokens`, adds what the model expects around a text, usually
    /// BOS.
    ///
    /// # Errors
    /// The tokenizer fails on this text.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>> {
        let failed = |why: String| Error::file(&self.origin, why, "report the text");
        let encoding = guarded(|| self.inner.encode_fast(text, add_special_tokens)).map_err(failed)?;
        Ok(encoding.map_err(|e| failed(e.to_string()))?.get_ids().to_vec())
    }

    /// Converts ids to text, including special tokens. Bytes that are not UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// An id is not in the vocabulary.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        if let Some(id) = ids.iter().find(|&&id| self.inner.id_to_token(id).is_none()) {
            let hint = "use the tokenizer that belongs to these weights";
            return Err(Error::file(&self.origin, format!("id {id} is not in the vocabulary"), hint));
        }
        let failed = |why: String| Error::file(&self.origin, why, "report the ids");
        guarded(|| self.inner.decode(ids, false)).map_err(failed)?.map_err(|e| failed(e.to_string()))
    }

    /// Converts ids to text, without special tokens.
    ///
    /// # Errors
    /// An id is not in the vocabulary.
    pub fn decode_skipping_special(&self, ids: &[u32]) -> Result<String> {
        let plain: Vec<u32> = ids.iter().copied().filter(|&id| !self.is_special(id)).collect();
        self.decode(&plain)
    }

    /// The token with this id, as it is written in the vocabulary (`Ġthe`, `▁the`, `<0x0A>`).
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The id of a token, as it is written in the vocabulary.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Whether the token has no text, like BOS or end of turn.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.contains(&id)
    }

    /// The largest id of a token, including added ones.
    pub fn largest_id(&self) -> Option<u32> {
        self.inner.get_vocab(true).into_values().max()
    }

    /// The number of tokens, including added ones. A model may have more embedding rows.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }
}

fn damaged(origin: &str, why: impl std::fmt::Display) -> Error {
    Error::file(origin, why, "pass the model's own tokenizer.json")
}
