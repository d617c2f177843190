//! Compares the tokens, merges, special tokens and chat template with those that transformers reads.

use super::subject::Unread;
use super::verdict::{Finding, Status, Verdict};
use crate::Result;
use crate::reference::TokenizerFacts;
use crate::tokenizer::{Content, Hashes, Tokenizer};

/// Judges each part by its hash. A tokenizer that cannot be used is judged by what is in its files: its texts are
/// skipped, but a damaged file or a changed token is a difference. One that only this program does not support has
/// the right parts. If there is no tokenizer, or one of another kind, nothing is judged.
pub(super) fn judge_vocabulary(
    tokenizer: &Result<&Tokenizer, Unread>,
    facts: &TokenizerFacts,
) -> Result<Vec<Finding>> {
    let unusable = |why: &str| Finding::new("tokenizer", Verdict::Broken(why.to_owned()));
    Ok(match tokenizer {
        Ok(tokenizer) => compare(tokenizer.hashes()?, facts),
        Err(Unread { content: Content::Other, .. }) => Vec::new(),
        Err(Unread { content: Content::Damaged, why }) => vec![unusable(why)],
        Err(Unread { content: Content::Parts(hashes), why }) => {
            let mut findings = compare(hashes.clone(), facts);
            if findings.iter().any(|finding| finding.status() != Status::Passed) {
                findings.push(unusable(why));
            }
            findings
        }
    })
}

fn compare(hashes: Hashes, facts: &TokenizerFacts) -> Vec<Finding> {
    let Hashes { vocabulary, merges, special_tokens, chat_template } = hashes;
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
    findings
}
