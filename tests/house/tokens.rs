//! Splits Rust source into words and punctuation, without comments and literals in quotes.

use rstest::rstest;

/// The tokens of the source: words, `::`, and every other punctuation character by itself.
pub fn tokens(source: &str) -> Vec<&str> {
    let (mut rest, mut tokens) = (source, Vec::new());
    while let Some(first) = rest.chars().next() {
        let (length, counts) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), false)
        } else if rest.starts_with("/*") {
            (rest.find("*/").map_or(rest.len(), |end| end + 2), false)
        } else if let Some(length) = literal(rest) {
            (length, false)
        } else if is_word(rest) {
            (rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len()), true)
        } else if rest.starts_with("::") {
            (2, true)
        } else {
            (first.len_utf8(), !first.is_whitespace())
        };
        tokens.extend(counts.then_some(&rest[..length]));
        rest = &rest[length..];
    }
    tokens
}

/// Is the token a name or a number?
pub fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// The length of the string or character literal at the start of `rest`.
fn literal(rest: &str) -> Option<usize> {
    let unmarked = rest.trim_start_matches(['b', 'c']);
    if let Some(raw) = unmarked.strip_prefix('r') {
        let text = raw.trim_start_matches('#');
        let end = format!("\"{}", "#".repeat(raw.len() - text.len()));
        if let Some(text) = text.strip_prefix('"') {
            return Some(rest.len() - text.len() + text.find(&end)? + end.len());
        }
    }
    let quote = unmarked.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let text = &unmarked[1..];
    // `'a` without a closing quote is a lifetime.
    if quote == '\'' && !text.starts_with('\\') && text.chars().nth(1) != Some('\'') {
        return None;
    }
    let mut escaped = false;
    let end = text.find(|c| {
        let ends = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    })?;
    Some(rest.len() - text.len() + end + 1)
}

/// The tokens without the items under `#[cfg(test)]`.
pub fn without_tests<'a>(tokens: &[&'a str]) -> Vec<&'a str> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut rest, mut kept) = (tokens, Vec::new());
    while let [first, after @ ..] = rest {
        rest = match rest.strip_prefix(&MARK) {
            Some(item) => &item[end_of_item(item)..],
            None => {
                kept.push(*first);
                after
            }
        };
    }
    kept
}

/// The end of the item at the start of `tokens`: after its last `}` or its `;`.
fn end_of_item(tokens: &[&str]) -> usize {
    let mut depth = 0usize;
    let end = tokens.iter().position(|token| {
        match *token {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && matches!(*token, "}" | ";")
    });
    end.map_or(tokens.len(), |end| end + 1)
}

#[rstest]
#[case("a::b(c) // crate::d", "a :: b ( c )")]
#[case("a /* crate::b */ c", "a c")]
#[case(r#"a("crate::b \" c", d)"#, "a ( , d )")]
#[case(r##"a(r#"crate::"b""#, b"c", '"', '\'', d)"##, "a ( , , , , d )")]
#[case("fn a<'b>(c: &'b str)", "fn a < ' b > ( c : & ' b str )")]
fn comments_and_literals_are_left_out(#[case] source: &str, #[case] words: &str) {
    assert_eq!(tokens(source).join(" "), words);
}

#[rstest]
#[case("a #[cfg(test)] mod tests { use b; fn c() { d } } e", "a e")]
#[case("a #[cfg(test)] mod tests; b", "a b")]
#[case("a #[cfg(test)] #[allow(x)] const B: [u8; 2] = [1; 2]; c", "a c")]
#[case("#[cfg(feature)] mod a;", "# [ cfg ( feature ) ] mod a ;")]
fn items_under_cfg_test_are_left_out(#[case] source: &str, #[case] words: &str) {
    assert_eq!(without_tests(&tokens(source)).join(" "), words);
}
