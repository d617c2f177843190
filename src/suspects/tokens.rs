//! Ids that are not the reference's: BOS, and text that is split by another model's rules.

use super::Named;

/// The mistake behind `got` for `want`, ids of the same `text`; `decode` gives the text of ids.
pub fn other_ids(
    text: &str,
    got: &[u32],
    want: &[u32],
    bos: Option<u32>,
    decode: &dyn Fn(&[u32]) -> Option<String>,
) -> Option<Named> {
    let named = |says: String, fix: &str| {
        Some(Named { mistake: "special-tokens", says, fix: fix.into(), residual: 0.0, flips: 0 })
    };
    if let (Some(bos), Some((&first, rest))) = (bos, want.split_first())
        && first == bos
        && rest == got
    {
        return named(format!("BOS ({bos}) is missing"), "add it where the tokenizer's config says so");
    }
    if let (Some(bos), Some((&first, rest))) = (bos, got.split_first())
        && first == bos
        && rest == want
    {
        let doubled = want.first() == Some(&bos);
        let says = if doubled {
            "BOS ({bos}) stands there twice"
        } else {
            "BOS ({bos}) is added, and does not belong"
        };
        return named(
            says.replace("{bos}", &bos.to_string()),
            "add it once: a chat template's text has its own already",
        );
    }
    let pieces = |ids: &[u32]| ids.iter().map(|&id| decode(&[id])).collect::<Option<Vec<String>>>();
    let (got, want) = (pieces(got)?, pieces(want)?);
    if got.concat().trim() != want.concat().trim() || got == want {
        return None;
    }
    let at = got.iter().zip(&want).position(|(a, b)| a != b)?;
    let what = match (&got[at], &want[at]) {
        (g, w) if [g, w].iter().any(|s| s.trim().chars().any(|c| c.is_ascii_digit())) => "digits",
        (g, w) if [g, w].iter().any(|s| s.trim().is_empty()) => "spaces",
        _ if text.is_empty() => return None,
        _ => "words",
    };
    let says =
        format!("you split {what} by another model's rules: {:?} where {:?} should stand", got[at], want[at]);
    named(says, "use this model's own pre-tokenizer: in GGUF `tokenizer.ggml.pre` names it")
}
