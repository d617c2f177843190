//! SentencePiece's scores → the list of merges that other BPEs come with.

use std::collections::HashMap;

/// Every way to cut a token into two tokens is a merge. Those that make a token of a better score
/// come first, and among equal ones those with a longer left side, then a longer right side, as
/// transformers' converter has it. `tokens` and `scores` are indexed by id; a token that is not made
/// by merging (a byte, BOS) is nothing.
///
/// SentencePiece itself takes the leftmost of equal scores. The two orders can part only where one
/// text can be cut in several ways of the same score, as in a run of equal characters.
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
    // A stable sort: what is equal keeps the order of ids.
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
    fn better_scores_come_first_and_then_longer_left_sides() {
        let tokens = ["a", "aa", "aaa", "b", "ab"].map(Some);
        let merges = by_score(&tokens, &[0.0, -2.0, -1.0, 0.0, -2.0]);
        assert_eq!(merges, [["aa", "a"], ["a", "aa"], ["a", "a"], ["a", "b"]]);
    }

    #[test]
    fn tokens_that_no_text_makes_take_no_part() {
        assert_eq!(by_score(&[Some("a"), None, Some("b")], &[0.0; 3]), [[""; 2]; 0]);
    }
}
