//! What is in the tokenizer of a GGUF file that cannot be used.

use serde_json::Value;

use super::gguf::{MAX_TOKEN, Metadata, Role, Vocabulary, roles, texts_of};
use super::identity::{Content, Hashes};
use super::merges;

impl Content {
    /// What is in GGUF metadata: tokens that occur twice and unknown splitting rules do not matter.
    pub(crate) fn of_gguf(metadata: Metadata<'_>) -> Self {
        let model = metadata("tokenizer.ggml.model");
        let (Some(kind @ ("gpt2" | "llama")), Some(tokens)) =
            (model.as_ref().and_then(Value::as_str), metadata("tokenizer.ggml.tokens"))
        else {
            return Self::Other;
        };
        let Some(tokens) = texts_of(tokens) else { return Self::Damaged };
        let Some(roles) = roles(metadata, tokens.len()) else { return Self::Damaged };
        let vocabulary = Vocabulary { metadata, origin: "", tokens, roles };
        let merges: Vec<(String, String)> = if kind == "gpt2" {
            let Some(merges) = metadata("tokenizer.ggml.merges") else { return Self::Other };
            let pair =
                |merge: &String| merge.split_once(' ').map(|(left, right)| (left.into(), right.into()));
            match texts_of(merges).and_then(|merges| merges.iter().map(pair).collect()) {
                Some(merges) => merges,
                None => return Self::Damaged,
            }
        } else if vocabulary.tokens.iter().any(|token| token.len() > MAX_TOKEN) {
            return Self::Other;
        } else {
            let Ok(scores) = vocabulary.scores() else { return Self::Damaged };
            let merges = merges::by_score(&vocabulary.texts(), &scores);
            merges.into_iter().map(|[left, right]| (left.to_owned(), right.to_owned())).collect()
        };
        let Vocabulary { tokens, roles, .. } = vocabulary;
        let special =
            (0..).zip(&roles).filter(|(_, role)| **role == Role::Control).map(|(id, _)| id).collect();
        Self::Parts(Hashes::of((0..).zip(tokens).collect(), &merges, special))
    }
}
