//! Hashes of what a tokenizer consists of, which find a change in any of its tokens, not only in those of a few texts.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{FILE, LIMIT, Tokenizer};
use crate::{Result, files};

/// SHA-256, in lower-case hex digits, of the parts of a tokenizer. `scripts/capture/vocabulary.py` computes the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Hashes {
    /// Of all tokens, added ones included: the line `ID TAB TOKEN` for each, in the order of their ids.
    pub vocabulary: String,
    /// Of all merges: the line `LEFT TAB RIGHT` for each, in their order.
    pub merges: String,
    /// Of the tokens without text, like BOS: the line `ID` for each, in ascending order.
    pub special_tokens: String,
    /// Of the chat template, if there is one.
    pub chat_template: Option<String>,
}

/// What is in the files of a tokenizer that cannot be used. Its parts are compared with the references nevertheless:
/// a tokenizer that only this program does not support is right, and one with a changed token is not.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// The parts of a BPE.
    Parts(Hashes),
    /// There is no tokenizer, or one of another kind, so nothing can be compared.
    Other,
    /// The file is not a tokenizer: it is damaged.
    Damaged,
}

impl Tokenizer {
    /// The hashes of this tokenizer.
    ///
    /// # Errors
    /// As [`Tokenizer::json`].
    pub fn hashes(&self) -> Result<Hashes> {
        let tokens = self.inner.get_vocab(true).into_iter().map(|(token, id)| (id.into(), token)).collect();
        let json = self.json()?;
        let merges = pairs(&json["model"]["merges"]).unwrap_or_default();
        let special = self.special.iter().map(|&id| id.into()).collect();
        Ok(Hashes::of(tokens, &merges, special).with_chat_template(self.template.as_deref()))
    }

    /// Sets the chat template that belongs to it.
    pub(crate) fn set_chat_template(&mut self, template: Option<String>) {
        self.template = template;
    }
}

impl Hashes {
    /// Those of tokens with their ids, merges, and the ids of tokens without text, in any order.
    pub(super) fn of(
        mut tokens: Vec<(u64, String)>,
        merges: &[(String, String)],
        mut special: Vec<u64>,
    ) -> Self {
        tokens.sort_unstable();
        special.sort_unstable();
        special.dedup();
        Self {
            vocabulary: lines(tokens.into_iter().map(|(id, token)| format!("{id}\t{token}"))),
            merges: lines(merges.iter().map(|(left, right)| format!("{left}\t{right}"))),
            special_tokens: lines(special.into_iter().map(|id| id.to_string())),
            chat_template: None,
        }
    }

    fn with_chat_template(self, template: Option<&str>) -> Self {
        Self { chat_template: template.map(|template| hex(Sha256::digest(template))), ..self }
    }
}

impl Content {
    /// That of the `tokenizer.json` in a model's directory.
    pub(crate) fn of_dir(dir: &Path) -> Self {
        match files::read(&dir.join(FILE), LIMIT, "") {
            Err(_) => Self::Other,
            Ok(bytes) => files::python_json(&bytes).map_or(Self::Damaged, |json| Self::of_json(&json)),
        }
    }

    /// Adds the chat template.
    pub(crate) fn with_chat_template(self, template: Option<&str>) -> Self {
        match self {
            Self::Parts(hashes) => Self::Parts(hashes.with_chat_template(template)),
            other => other,
        }
    }

    fn of_json(json: &Value) -> Self {
        let model = &json["model"];
        let kind = &model["type"];
        // Old files have no type; a unigram's vocabulary is a list.
        if model["vocab"].is_array() || kind.as_str().is_some_and(|kind| kind != "BPE") {
            return Self::Other;
        }
        Self::of_bpe(model, &json["added_tokens"]).map_or(Self::Damaged, Self::Parts)
    }

    fn of_bpe(model: &Value, added: &Value) -> Option<Hashes> {
        let added = added.as_array().map_or(&[][..], Vec::as_slice);
        let (mut tokens, mut special) = (BTreeMap::new(), Vec::new());
        for (token, id) in model["vocab"].as_object()? {
            tokens.insert(id.as_u64()?, token.clone());
        }
        for token in added {
            let id = token["id"].as_u64()?;
            tokens.insert(id, token["content"].as_str()?.to_owned());
            if token["special"].as_bool()? {
                special.push(id);
            }
        }
        Some(Hashes::of(tokens.into_iter().collect(), &pairs(&model["merges"])?, special))
    }
}

/// The merges in a list of `LEFT RIGHT` or `[LEFT, RIGHT]`; `None` if it is something else.
fn pairs(merges: &Value) -> Option<Vec<(String, String)>> {
    let pair = |merge: &Value| match merge {
        Value::String(both) => both.split_once(' ').map(|(left, right)| (left.to_owned(), right.to_owned())),
        both => Some((both.get(0)?.as_str()?.to_owned(), both.get(1)?.as_str()?.to_owned())),
    };
    merges.as_array()?.iter().map(pair).collect()
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    let mut hash = Sha256::new();
    lines.for_each(|line| hash.update(line + "\n"));
    hex(hash.finalize())
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
