//! Text from files as it is printed.

/// `text` with every character that does not print escaped: a name in a file must neither move the cursor nor begin
/// a line of its own.
pub fn escaped(text: &str) -> String {
    let one = |c: char| match c {
        // They print as they are.
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
    fn only_characters_that_do_not_print_are_escaped(#[case] text: &str, #[case] printed: &str) {
        assert_eq!(super::escaped(text), printed);
    }
}
