//! Converts GGUF metadata to an equivalent tokenizer.json.
//!
//! Using that format means that the `tokenizers` crate gets only one kind of input, with one set of checks,
//! and that the meaning of a GGUF vocabulary can be read as plain data.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{merges, split};
use crate::{Error, Result};

/// Maximum number of bytes in a token. Real tokens have a few hundred: runs of spaces.
pub(super) const MAX_TOKEN: usize = 4096;

/// Looks up a metadata key, for example with `weights::gguf::Gguf::metadata`.
pub type Metadata<'a> = &'a dyn Fn(&str) -> Option<Value>;

/// The purpose of a token (`llama_token_type` in llama.h).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Produced by merging.
    Normal,
    /// Never produced from text: BOS and similar tokens, the unknown token, bytes.
    Control,
    /// Matched literally in the text before anything else, and kept when special tokens are left out.
    UserDefined,
    /// One byte, `<0x0A>`.
    Byte,
}

impl Role {
    fn of(code: Option<i64>) -> Self {
        match code {
            Some(2 | 3) => Self::Control,
            Some(4) => Self::UserDefined,
            Some(6) => Self::Byte,
            _ => Self::Normal,
        }
    }
}

/// The vocabulary of a GGUF file.
pub(super) struct Vocabulary<'a> {
    pub(super) metadata: Metadata<'a>,
    pub(super) origin: &'a str,
    pub(super) tokens: Vec<String>,
    pub(super) roles: Vec<Role>,
}

/// Builds the tokenizer.json for the vocabulary in `metadata`: byte-level BPE (`gpt2`) or
/// SentencePiece's BPE (`llama`).
///
/// # Errors
/// The metadata has no vocabulary, one of another kind or with unknown splitting rules, or one that
/// contradicts itself.
pub(super) fn to_json(metadata: Metadata<'_>, origin: &str) -> Result<Value> {
    let vocabulary = Vocabulary::read(metadata, origin)?;
    match metadata("tokenizer.ggml.model").as_ref().and_then(Value::as_str) {
        Some("gpt2") => vocabulary.byte_level(),
        Some("llama") => vocabulary.sentence_piece(),
        other => {
            let what = format!("tokenizer.ggml.model is {}", other.unwrap_or("missing"));
            Err(Error::file(origin, what, "the vocabularies `gpt2` and `llama` are supported"))
        }
    }
}

/// The role of each of `count` tokens; `None` if the list has another length.
pub(super) fn roles(metadata: Metadata<'_>, count: usize) -> Option<Vec<Role>> {
    let types = metadata("tokenizer.ggml.token_type");
    let types = types.as_ref().and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let fits = types.is_empty() || types.len() == count;
    fits.then(|| (0..count).map(|id| Role::of(types.get(id).and_then(Value::as_i64))).collect())
}

impl<'a> Vocabulary<'a> {
    fn read(metadata: Metadata<'a>, origin: &'a str) -> Result<Self> {
        let bad = |what: String| Error::file(origin, what, "convert the model again with llama.cpp");
        let tokens =
            strings(metadata, "tokenizer.ggml.tokens").filter(|tokens| !tokens.is_empty()).ok_or_else(
                || bad("metadata `tokenizer.ggml.tokens` is missing or not a list of strings".into()),
            )?;
        // Searching for the parts of a token takes time quadratic in its length.
        if let Some((id, token)) = tokens.iter().enumerate().find(|(_, token)| token.len() > MAX_TOKEN) {
            return Err(bad(format!(
                "token {id} is {} bytes long, more than the limit of {MAX_TOKEN}",
                token.len()
            )));
        }
        let mut seen = HashMap::new();
        for (id, token) in tokens.iter().enumerate() {
            if let Some(first) = seen.insert(token.as_str(), id) {
                return Err(bad(format!("tokens {first} and {id} are both {token:?}")));
            }
        }
        let roles = roles(metadata, tokens.len()).ok_or_else(|| {
            let types = metadata("tokenizer.ggml.token_type");
            let types = types.as_ref().and_then(Value::as_array).map_or(0, Vec::len);
            bad(format!("{} tokens have {types} token types", tokens.len()))
        })?;
        Ok(Self { metadata, origin, tokens, roles })
    }

    fn byte_level(&self) -> Result<Value> {
        let pre = (self.metadata)("tokenizer.ggml.pre");
        let pre = pre.as_ref().and_then(Value::as_str).unwrap_or("missing");
        let rules = split::rules(pre).ok_or_else(|| {
            let what = format!("tokenizer.ggml.pre is {pre}, which is not supported");
            Error::file(
                self.origin,
                what,
                "other splitting rules would give wrong ids; use the model's tokenizer.json",
            )
        })?;
        let merges = strings(self.metadata, "tokenizer.ggml.merges").ok_or_else(|| {
            Error::file(self.origin, "metadata `tokenizer.ggml.merges` is missing", "convert the model again")
        })?;
        let model = json!({
            "type": "BPE",
            "vocab": self.ids(),
            // A space separates the two sides; byte-level tokens contain no spaces.
            "merges": merges,
            "ignore_merges": rules.ignore_merges,
        });
        let decoder = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false });
        self.assemble(model, Value::Null, rules.to_json(), decoder, rules.add_bos, [None, None])
    }

    /// SentencePiece has no words and no list of merges: spaces become `▁`, one is put in front, and the
    /// neighbours that form the token with the best score are merged first.
    fn sentence_piece(&self) -> Result<Value> {
        let prefix = self.flag("tokenizer.ggml.add_space_prefix").unwrap_or(true);
        let scores = self.scores()?;
        let unknown = self.token("unknown", Some(0))?;
        let model = json!({
            "type": "BPE",
            "vocab": self.ids(),
            "merges": merges::by_score(&self.texts(), &scores),
            "unk_token": unknown.map(|(_, text)| text),
            "fuse_unk": true,
            "byte_fallback": true,
        });
        let blanks = json!({ "type": "Replace", "pattern": { "String": " " }, "content": "▁" });
        let mut normalizers = vec![blanks];
        let mut decoders = vec![
            json!({ "type": "Replace", "pattern": { "String": "▁" }, "content": " " }),
            json!({ "type": "ByteFallback" }),
            json!({ "type": "Fuse" }),
        ];
        if prefix {
            normalizers.insert(0, json!({ "type": "Prepend", "prepend": "▁" }));
            decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
        }
        let normalizer = json!({ "type": "Sequence", "normalizers": normalizers });
        let decoder = json!({ "type": "Sequence", "decoders": decoders });
        self.assemble(model, normalizer, Value::Null, decoder, true, [Some(1), Some(2)])
    }

    fn assemble(
        &self,
        model: Value,
        normalizer: Value,
        pre_tokenizer: Value,
        decoder: Value,
        add_bos: bool,
        [bos, eos]: [Option<u64>; 2],
    ) -> Result<Value> {
        let added = self
            .roles
            .iter()
            .enumerate()
            .filter(|(_, role)| matches!(role, Role::Control | Role::UserDefined));
        let added = added.map(|(id, role)| {
            json!({
                "id": id, "content": self.tokens[id], "special": *role == Role::Control,
                "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            })
        });
        let before = self.flag("tokenizer.ggml.add_bos_token").unwrap_or(add_bos).then_some(("bos", bos));
        let after = self.flag("tokenizer.ggml.add_eos_token").unwrap_or(false).then_some(("eos", eos));
        Ok(json!({
            "version": "1.0",
            "added_tokens": added.collect::<Vec<_>>(),
            "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer,
            "post_processor": self.frame(before, after)?,
            "decoder": decoder,
            "model": model,
        }))
    }

    /// The post-processor that adds BOS before and EOS after a text.
    fn frame(
        &self,
        before: Option<(&str, Option<u64>)>,
        after: Option<(&str, Option<u64>)>,
    ) -> Result<Value> {
        if before.is_none() && after.is_none() {
            return Ok(Value::Null);
        }
        let mut specials = Map::new();
        let mut end = |which: Option<(&str, Option<u64>)>| -> Result<Vec<Value>> {
            let Some((which, default)) = which else { return Ok(Vec::new()) };
            let Some((id, text)) = self.token(which, default)? else {
                let what = format!(
                    "a {which} token is added to texts, but `tokenizer.ggml.{which}_token_id` is missing"
                );
                return Err(Error::file(self.origin, what, "convert the model again with llama.cpp"));
            };
            specials.insert(text.to_owned(), json!({ "id": text, "ids": [id], "tokens": [text] }));
            Ok(vec![json!({ "SpecialToken": { "id": text, "type_id": 0 } })])
        };
        let (before, after) = (end(before)?, end(after)?);
        let text = |name: &str| vec![json!({ "Sequence": { "id": name, "type_id": 0 } })];
        let single = [before.clone(), text("A"), after.clone()].concat();
        let pair = [before, text("A"), text("B"), after].concat();
        Ok(
            json!({ "type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": specials }),
        )
    }

    /// The token with the id in `tokenizer.ggml.{which}_token_id`.
    fn token(&self, which: &str, default: Option<u64>) -> Result<Option<(u64, &str)>> {
        let key = format!("tokenizer.ggml.{which}_token_id");
        let Some(id) = (self.metadata)(&key).map_or(default, |id| id.as_u64()) else { return Ok(None) };
        match usize::try_from(id).ok().and_then(|id| self.tokens.get(id)) {
            Some(text) => Ok(Some((id, text))),
            None => {
                let what =
                    format!("metadata `{key}` is {id}, outside the vocabulary of {}", self.tokens.len());
                Err(Error::file(self.origin, what, "convert the model again with llama.cpp"))
            }
        }
    }

    /// SentencePiece's score of each token.
    pub(super) fn scores(&self) -> Result<Vec<f64>> {
        let scores = (self.metadata)("tokenizer.ggml.scores");
        let scores = scores.as_ref().and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        if scores.len() != self.tokens.len() {
            let what = format!("{} tokens have {} scores", self.tokens.len(), scores.len());
            return Err(Error::file(self.origin, what, "convert the model again with llama.cpp"));
        }
        Ok(scores.iter().map(|score| score.as_f64().unwrap_or(f64::NEG_INFINITY)).collect())
    }

    fn flag(&self, key: &str) -> Option<bool> {
        (self.metadata)(key).and_then(|flag| flag.as_bool())
    }

    /// The tokens that are made from text; `None` for the others.
    pub(super) fn texts(&self) -> Vec<Option<&str>> {
        let made = |role: &Role| matches!(role, Role::Normal | Role::UserDefined);
        self.tokens
            .iter()
            .zip(&self.roles)
            .map(|(token, role)| made(role).then_some(token.as_str()))
            .collect()
    }

    fn ids(&self) -> Map<String, Value> {
        self.tokens.iter().enumerate().map(|(id, token)| (token.clone(), Value::from(id))).collect()
    }
}

fn strings(metadata: Metadata<'_>, key: &str) -> Option<Vec<String>> {
    texts_of(metadata(key)?)
}

/// A list of strings; `None` if it is something else.
pub(super) fn texts_of(value: Value) -> Option<Vec<String>> {
    let Value::Array(list) = value else { return None };
    let text = |value| match value {
        Value::String(text) => Some(text),
        _ => None,
    };
    list.into_iter().map(text).collect()
}
