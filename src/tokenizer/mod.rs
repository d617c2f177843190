//! Text ↔ token ids, and chat templates.
//!
//! Splitting and merging is the `tokenizers` crate's work; this room says what a GGUF vocabulary
//! means in its terms, and turns away what would make it panic or guess.

#[cfg(feature = "cli")]
pub mod chat;
mod gguf;
mod merges;
mod split;
mod stream;

use std::collections::HashSet;
use std::path::Path;

use serde_json::Value;

pub use self::gguf::Metadata;
pub use self::stream::Stream;
use crate::{Error, Result, files};

/// The largest `tokenizer.json` that is read, in bytes. Gemma 3's, with 262,000 tokens, has 33 MB.
const LIMIT: u64 = 256 << 20;

/// A model's tokenizer.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    origin: String,
    /// Left out by [`Tokenizer::decode_skipping_special`].
    special: HashSet<u32>,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`. `origin` names it in messages.
    ///
    /// # Errors
    /// When it is no tokenizer.json, contradicts itself, or holds another model than BPE (every
    /// Llama's is BPE).
    pub fn from_json(json: &[u8], origin: &str) -> Result<Self> {
        let json = files::json(json).map_err(|e| damaged(origin, e))?;
        Self::build(json, origin)
    }

    fn build(json: Value, origin: &str) -> Result<Self> {
        check_merges(&json["model"]).map_err(|e| damaged(origin, e))?;
        let inner: tokenizers::Tokenizer = serde_json::from_value(json).map_err(|e| damaged(origin, e))?;
        let added = inner.get_added_tokens_decoder();
        let special = added.iter().filter(|(_, token)| token.special).map(|(&id, _)| id).collect();
        Ok(Self { inner, origin: origin.to_owned(), special })
    }

    /// Reads the `tokenizer.json` in a model's directory.
    ///
    /// # Errors
    /// When it is not there, or as [`Tokenizer::from_json`].
    pub fn from_dir(dir: &Path) -> Result<Self> {
        let path = dir.join("tokenizer.json");
        let hint = "save the model's fast tokenizer beside it: transformers' `save_pretrained` writes tokenizer.json";
        let json = files::read(&path, LIMIT, hint)?;
        Self::from_json(&json, &path.to_string_lossy())
    }

    /// Reads the vocabulary in GGUF metadata, looked up by key: `&|key| file.metadata(key)`.
    ///
    /// Splitting follows `tokenizer.ggml.pre` as llama.cpp has it; a text gets BOS and EOS where
    /// `add_bos_token` and `add_eos_token` say so (by default, BOS for `llama` and `llama-bpe`).
    /// Control tokens in the text are recognised.
    ///
    /// # Errors
    /// When there is no vocabulary, or one that is damaged or not supported.
    pub fn from_gguf(metadata: Metadata<'_>, origin: &str) -> Result<Self> {
        Self::build(gguf::to_json(metadata, origin)?, origin)
    }

    /// All of it as the content of a `tokenizer.json`, which [`Tokenizer::from_json`] reads.
    ///
    /// # Errors
    /// When a part of it has no such form.
    pub fn json(&self) -> Result<Value> {
        let text =
            self.inner.to_string(false).map_err(|e| Error::file(&self.origin, e, "report the tokenizer"))?;
        serde_json::from_str(&text).map_err(|e| Error::file(&self.origin, e, "report the tokenizer"))
    }

    /// Text → ids. With `add_special_tokens`, what the model wants around a text: BOS, mostly.
    ///
    /// # Errors
    /// When the tokenizer fails on this text.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, add_special_tokens);
        Ok(encoding.map_err(|e| Error::file(&self.origin, e, "report the text"))?.get_ids().to_vec())
    }

    /// Ids → text, special tokens spelled out. Bytes that are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// When an id has no token.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        if let Some(id) = ids.iter().find(|&&id| self.inner.id_to_token(id).is_none()) {
            let hint = "weights and tokenizer do not belong together";
            return Err(Error::file(&self.origin, format!("id {id} has no token"), hint));
        }
        self.inner.decode(ids, false).map_err(|e| Error::file(&self.origin, e, "report the ids"))
    }

    /// Ids → text, special tokens left out.
    ///
    /// # Errors
    /// When an id has no token.
    pub fn decode_skipping_special(&self, ids: &[u32]) -> Result<String> {
        let plain: Vec<u32> = ids.iter().copied().filter(|&id| !self.is_special(id)).collect();
        self.decode(&plain)
    }

    /// The token of an id, in the vocabulary's own spelling (`Ġthe`, `▁the`, `<0x0A>`).
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The id of a token in the vocabulary's own spelling.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Is this a token that stands for no text: BOS, end of turn and their kind?
    pub fn is_special(&self, id: u32) -> bool {
        self.special.contains(&id)
    }

    /// The number of tokens, added ones included. A model may have more embedding rows.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }
}

fn damaged(origin: &str, why: impl std::fmt::Display) -> Error {
    Error::file(origin, why, "pass the model's own tokenizer.json")
}

/// Refuses what `tokenizers` would panic on: merges that make no token.
fn check_merges(model: &Value) -> Result<(), String> {
    let kind = &model["type"];
    // Old files leave the type out.
    if !kind.is_null() && kind != "BPE" {
        return Err(format!("model type {kind} is not supported, BPE is"));
    }
    let vocab = model["vocab"].as_object().ok_or("has no BPE vocabulary")?;
    if model["continuing_subword_prefix"].as_str().is_some_and(|prefix| !prefix.is_empty()) {
        return Err("continuing_subword_prefix is not supported".into());
    }
    for merge in model["merges"].as_array().into_iter().flatten() {
        let sides = match merge {
            Value::String(both) => both.split_once(' '),
            both => both[0].as_str().zip(both[1].as_str()),
        };
        let (left, right) = sides.ok_or_else(|| format!("merge {merge} is no pair"))?;
        if let Some(lost) =
            [left, right, &format!("{left}{right}")].into_iter().find(|side| !vocab.contains_key(*side))
        {
            return Err(format!("merge {merge} needs {lost:?}, which is no token"));
        }
    }
    Ok(())
}
