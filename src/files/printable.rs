//! Prepares text from files for messages.

/// `text` with every unprintable character escaped, so that a name from a file can neither move the cursor
/// nor start a new line.
pub fn printable(text: &str) -> String {
    let one = |c: char| match c {
        // `escape_debug` would escape these too, but they are printable.
        '"' | '\'' | '\\' => c.to_string(),
        c => c.escape_debug().to_string(),
    };
    text.chars().map(one).collect()
}

/// A text in one printable line. Of a very long text, the middle is left out: the beginning usually names a file, and
/// the end says what is wrong with it.
pub fn one_line(text: &str) -> String {
    /// In characters, of the beginning and of the end.
    const KEPT: usize = 400;
    let (begin, end) = (text.char_indices().nth(KEPT), text.char_indices().nth_back(KEPT - 1));
    match (begin, end) {
        (Some((begin, _)), Some((end, _))) if begin < end => {
            format!("{} … {}", printable(&text[..begin]), printable(&text[end..]))
        }
        _ => printable(text),
    }
}

/// The beginning of a name from a file, printable.
pub fn short_name(name: &str) -> String {
    /// In characters. Real names have about 60.
    const LONGEST: usize = 160;
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => printable(&name[..end]) + "…",
        None => printable(name),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain("model.layers.0.mlp", "model.layers.0.mlp")]
    #[case::other_scripts("Ġthe <|im_end|> é 王", "Ġthe <|im_end|> é 王")]
    #[case::quotes("it's \"x\"", "it's \"x\"")]
    #[case::a_color("\x1b[31mred", "\\u{1b}[31mred")]
    #[case::lines("a\r\nb\tc", "a\\r\\nb\\tc")]
    #[case::right_to_left("a\u{202e}b", "a\\u{202e}b")]
    fn only_unprintable_characters_are_escaped(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(printable(text), shown);
        assert_eq!(short_name(text), shown);
    }

    #[test]
    fn a_long_name_is_cut() {
        assert_eq!(short_name(&"é".repeat(200_000)), "é".repeat(160) + "…");
    }

    #[test]
    fn the_middle_of_a_very_long_line_is_left_out() {
        assert_eq!(one_line("a\nb: is empty"), "a\\nb: is empty");
        let long = format!("a.json: {}\u{1b} is missing", "é".repeat(200_000));
        let line = one_line(&long);
        assert!(line.starts_with("a.json: éé") && line.ends_with("éé\\u{1b} is missing"), "{line}");
        assert!(line.contains("é … é") && line.chars().count() < 820, "{line}");
        assert_eq!(one_line(&"x".repeat(800)), "x".repeat(800));
    }
}
