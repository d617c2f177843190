//! Converts SentencePiece's scores to the list of merges that other BPE tokenizers use.

use std::collections::HashMap;

/// Every way to split a token into two tokens is a merge. Merges that produce a token with a better score
/// come first; for equal scores, those with a longer left side, then those with a longer right side, as in
/// transformers' converter. `tokens` and `scores` are indexed by id; a token that is not made by merging (a
/// byte, BOS) is `None`.
///
/// SentencePiece itself takes the leftmost of equal scores. The two orders can differ only if a text can be
/// split in several ways with the same score, as in a run of equal characters. SentencePiece also begins with characters
/// that are no tokens, and joins them; a merge here has two tokens. Vocabularies contain the characters of their tokens.
pub(super) fn by_score<'a>(tokens: &[Option<&'a str>], scores: &[f64]) -> Vec<[&'a str; 2]> {
    let named = || tokens.iter().enumerate().filter_map(|(id, token)| Some((id, (*token)?)));
    let ids: HashMap<&str, usize> = named().map(|(id, token)| (token, id)).collect();
    let mut merges = Vec::new();
    for (whole, token) in named() {
        let start = merges.len();
        for (cut, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(cut);
            if let (Some(&l), Some(&r)) = (ids.get(left), ids.get(right)) {
                merges.push((whole, [left, right], (l, r)));
            }
        }
        merges[start..].sort_by_key(|&(_, _, sides)| sides);
    }
    let length = |text: &str| text.chars().count();
    // The sort is stable: equal merges keep the order of their ids.
    merges.sort_by(|(a, [al, ar], _), (b, [bl, br], _)| {
        let by_score = scores[*b].total_cmp(&scores[*a]);
        by_score.then_with(|| length(bl).cmp(&length(al))).then_with(|| length(br).cmp(&length(ar)))
    });
    merges.into_iter().map(|(_, sides, _)| sides).collect()
}

#[cfg(test)]
mod tests {
    use super::by_score;

    #[test]
    fn better_scores_come_first_then_longer_left_sides() {
        let tokens = ["a", "aa", "aaa", "b", "ab"].map(Some);
        let merges = by_score(&tokens, &[0.0, -2.0, -1.0, 0.0, -2.0]);
        assert_eq!(merges, [["aa", "a"], ["a", "aa"], ["a", "a"], ["a", "b"]]);
    }

    #[test]
    fn tokens_that_are_not_made_from_text_have_no_merges() {
        assert_eq!(by_score(&[Some("a"), None, Some("b")], &[0.0; 3]), [[""; 2]; 0]);
    }
}
