//! Compares the tokens, merges, special tokens and chat template with those that transformers reads.

use super::verdict::{Finding, Verdict};
use crate::Result;
use crate::reference::TokenizerFacts;
use crate::tokenizer::{Hashes, Tokenizer};

/// Judges each part by its hash.
pub(super) fn judge_vocabulary(tokenizer: &Tokenizer, facts: &TokenizerFacts) -> Result<Vec<Finding>> {
    let Hashes { vocabulary, merges, special_tokens, chat_template } = tokenizer.hashes()?;
    let hash = |part: &str, got: &str, want: &str| {
        let verdict = if got == want {
            Verdict::Pass(0.0)
        } else {
            let read = format!("SHA-256 is {got:.12}…, but transformers reads {part} with {want:.12}…");
            Verdict::Broken(read)
        };
        Finding::new(part, verdict)
    };
    let mut findings = vec![
        hash("vocabulary", &vocabulary, &facts.vocabulary),
        hash("merges", &merges, &facts.merges),
        hash("special tokens", &special_tokens, &facts.special_tokens),
    ];
    // Without templates in this build, none is read.
    if cfg!(feature = "cli") {
        let none = || "none".to_owned();
        match (chat_template, &facts.chat_template) {
            (None, None) => {}
            (got, want) => findings.push(hash(
                "chat template",
                &got.unwrap_or_else(none),
                &want.clone().unwrap_or_else(none),
            )),
        }
    }
    Ok(findings)
}
