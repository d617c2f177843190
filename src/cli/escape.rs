//! Escapes text from files before it is printed.

/// `text` with every unprintable character escaped, so that a name from a file can neither move the cursor
/// nor start a new line.
pub fn escaped(text: &str) -> String {
    let one = |c: char| match c {
        // `escape_debug` would escape these too, but they are printable.
        '"' | '\'' | '\\' => c.to_string(),
        c => c.escape_debug().to_string(),
    };
    text.chars().map(one).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    #[rstest]
    #[case::plain("model.layers.0.mlp", "model.layers.0.mlp")]
    #[case::other_scripts("Ġthe <|im_end|> é 王", "Ġthe <|im_end|> é 王")]
    #[case::quotes("it's \"x\"", "it's \"x\"")]
    #[case::a_color("\x1b[31mred", "\\u{1b}[31mred")]
    #[case::lines("a\r\nb\tc", "a\\r\\nb\\tc")]
    #[case::right_to_left("a\u{202e}b", "a\\u{202e}b")]
    fn only_unprintable_characters_are_escaped(#[case] text: &str, #[case] printed: &str) {
        assert_eq!(super::escaped(text), printed);
    }
}
