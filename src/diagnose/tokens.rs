//! Finds the mistake that explains token ids that differ from the reference: BOS, or text split by another
//! model's rules.

use super::Named;

/// The mistake that explains why the ids of `text` are `got` instead of the reference's `want`; `decode`
/// turns ids into text.
pub fn other_ids(
    text: &str,
    got: &[u32],
    want: &[u32],
    bos: Option<u32>,
    decode: &dyn Fn(&[u32]) -> Option<String>,
) -> Option<Named> {
    let named = |says: String| Some(Named::new("special-tokens", says));
    if let (Some(bos), Some((&first, rest))) = (bos, want.split_first())
        && first == bos
        && rest == got
    {
        return named(format!("you leave out BOS ({bos})"));
    }
    if let (Some(bos), Some((&first, rest))) = (bos, got.split_first())
        && first == bos
        && rest == want
    {
        let doubled = want.first() == Some(&bos);
        return named(if doubled {
            format!("you add BOS ({bos}) twice")
        } else {
            format!("you add BOS ({bos}); this model's text has none")
        });
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
    let says = format!(
        "you split {what} by another model's rules: your token is {:?}, it should be {:?}",
        got[at], want[at]
    );
    named(says)
}
