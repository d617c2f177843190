//! Compares the tokenizer with the reference's in both directions; only exact equality passes.

use super::verdict::{Finding, Verdict};
use crate::diagnose::{self, Named};
use crate::reference::Tokens;
use crate::tokenizer::Tokenizer;

/// Judges every stored text in both directions, and every chat.
pub(super) fn judge_tokens(tokenizer: &Tokenizer, tokens: &Tokens, bos: Option<u32>) -> Vec<Finding> {
    let named = |text: &str, add_special_tokens: bool, want: &[u32]| {
        let got = tokenizer.encode(text, add_special_tokens).ok().filter(|got| got != want)?;
        diagnose::tokens::other_ids(text, &got, want, bos, &|ids| tokenizer.decode(ids).ok())
    };
    let encoded = tokens.encode.iter().map(|row| {
        let verdict = match tokenizer.encode(&row.text, row.add_special_tokens) {
            Err(error) => Verdict::Broken(error.to_string()),
            Ok(ids) => same_ids(&ids, &row.ids),
        };
        let named = named(&row.text, row.add_special_tokens, &row.ids);
        finding("encode", &row.text, verdict, named)
    });
    let decoded = tokens.encode.iter().map(|row| {
        let verdict = match tokenizer.decode(&row.ids) {
            Err(error) => Verdict::Broken(error.to_string()),
            Ok(text) if text == row.decoded => Verdict::Pass(0.0),
            Ok(text) => Verdict::Broken(format!("got {text:?}, the reference has {:?}", row.decoded)),
        };
        finding("decode", &row.text, verdict, None)
    });
    // A template's text already contains its special tokens, so none are added.
    let chats = tokens.chat.iter().map(|row| {
        let verdict = match tokenizer.encode(&row.text, false) {
            Err(error) => Verdict::Broken(error.to_string()),
            Ok(ids) => same_ids(&ids, &row.ids),
        };
        finding("chat", &row.text, verdict, named(&row.text, false, &row.ids))
    });
    encoded.chain(decoded).chain(chats).collect()
}

fn same_ids(got: &[u32], want: &[u32]) -> Verdict {
    if got == want {
        return Verdict::Pass(0.0);
    }
    let at = got.iter().zip(want).position(|(g, w)| g != w).unwrap_or(got.len().min(want.len()));
    let id = |ids: &[u32]| ids.get(at).map_or("nothing".to_owned(), u32::to_string);
    Verdict::Broken(format!(
        "got {} ids, the reference has {}; the first difference is at {at}: got {}, the reference has {}",
        got.len(),
        want.len(),
        id(got),
        id(want)
    ))
}

fn finding(way: &str, text: &str, verdict: Verdict, named: Option<Named>) -> Finding {
    let mut short: String = text.chars().take(24).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    Finding::explained(format!("{way} {short:?}"), verdict, named)
}
