//! Hashes of what a tokenizer consists of, which find a change in any of its tokens, not only in those of a few texts.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Tokenizer;
use crate::Result;

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

impl Tokenizer {
    /// The hashes of this tokenizer.
    ///
    /// # Errors
    /// As [`Tokenizer::json`].
    pub fn hashes(&self) -> Result<Hashes> {
        let mut tokens: Vec<(u32, String)> =
            self.inner.get_vocab(true).into_iter().map(|(token, id)| (id, token)).collect();
        tokens.sort_unstable();
        let json = self.json()?;
        let merges = json["model"]["merges"].as_array().map_or(&[][..], Vec::as_slice);
        let side = |merge: &Value, side: usize| merge[side].as_str().unwrap_or_default().to_owned();
        let merge = |merge: &Value| match merge.as_str().and_then(|both| both.split_once(' ')) {
            Some((left, right)) => format!("{left}\t{right}"),
            None => format!("{}\t{}", side(merge, 0), side(merge, 1)),
        };
        let mut special: Vec<u32> = self.special.iter().copied().collect();
        special.sort_unstable();
        Ok(Hashes {
            vocabulary: lines(tokens.into_iter().map(|(id, token)| format!("{id}\t{token}"))),
            merges: lines(merges.iter().map(merge)),
            special_tokens: lines(special.into_iter().map(|id| id.to_string())),
            chat_template: self.template.as_ref().map(|template| hex(Sha256::digest(template))),
        })
    }

    /// Sets the chat template that belongs to it.
    pub(crate) fn set_chat_template(&mut self, template: Option<String>) {
        self.template = template;
    }
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    let mut hash = Sha256::new();
    lines.for_each(|line| hash.update(line + "\n"));
    hex(hash.finalize())
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
