//! Statements in a model's files that contradict each other: the configuration, the tensors, and the tokenizer.

use serde_json::Value;

use super::{Model, embedded};
use crate::files::{self, short_name};

/// The largest `tokenizer_config.json` that is read, in bytes.
const LIMIT: u64 = 16 << 20;

impl Model {
    /// Contradictions between the configuration, the tensors and the tokenizer, one line each, with both values and
    /// where each is from. Those with which the model cannot be read are errors.
    pub fn contradictions(&self) -> Vec<String> {
        let mut all = self.weights.contradictions();
        all.extend(self.more_tokens_than_rows());
        all.extend(self.other_special_tokens());
        all
    }

    fn more_tokens_than_rows(&self) -> Option<String> {
        let tokenizer = self.tokenizer.as_ref().ok()?;
        let (largest, rows) = (tokenizer.largest_id()?, self.weights.config().vocab_size);
        (largest as usize >= rows).then(|| {
            let token = tokenizer.token(largest).unwrap_or_default();
            format!(
                "the token `{}` has the id {largest} in tokenizer.json, but {}, so it has no row in the embedding",
                short_name(&token),
                self.weights.stated("vocab_size", rows)
            )
        })
    }

    /// Tokens that `tokenizer_config.json` names as the start or the end of a text, and `config.json` does not.
    fn other_special_tokens(&self) -> Vec<String> {
        let (Ok(tokenizer), None) = (&self.tokenizer, self.weights.gguf()) else { return Vec::new() };
        let path = self.weights.origin().join("tokenizer_config.json");
        // Models that are compiled in have no files.
        if embedded::files(&self.name).is_some() {
            return Vec::new();
        }
        // Only the chat template needs this file, and it reports what is wrong with it.
        let text = files::read_text_if_there(&path, LIMIT, "").ok().flatten().unwrap_or_default();
        let stated: Value = files::python_json(&text).unwrap_or_default();
        let config = self.weights.config();
        let named = |key: &str| {
            let token = &stated[key];
            let token = token.as_str().or_else(|| token["content"].as_str())?;
            Some((token.to_owned(), tokenizer.id(token)?))
        };
        let note = |key: &str, token: &str, id: u32, own: &str, value: String| {
            let token = short_name(token);
            format!(
                "{key} is `{token}`, id {id}, in tokenizer_config.json, but {own} is {value} in config.json"
            )
        };
        let ends = &config.eos_token_ids;
        let end = named("eos_token").filter(|(_, id)| !ends.is_empty() && !ends.contains(id));
        let start = named("bos_token").zip(config.bos_token_id).filter(|((_, id), own)| id != own);
        let end = end.map(|(token, id)| note("eos_token", &token, id, "eos_token_id", format!("{ends:?}")));
        let start =
            start.map(|((token, id), own)| note("bos_token", &token, id, "bos_token_id", own.to_string()));
        end.into_iter().chain(start).collect()
    }
}
