//! Prepares the text of a template: bounds its expressions, and replaces the tag that only transformers has.

use std::ops::Range;

use minijinja::machinery::{Token, WhitespaceConfig, tokenize};
use minijinja::{Error, ErrorKind};

/// The most tokens between `{{` and `}}` or `{%` and `%}`. Longer expressions are nested too deep for the parser.
const TOKENS: usize = 2_000;
/// The most signs and `not`s in a row.
const SIGNS: usize = 32;
/// The most `elif`s: each one is nested in the one before.
const ELIFS: usize = 500;

/// The whitespace rules of transformers: block tags remove the whitespace around them on their line.
pub(super) const WHITESPACE: WhitespaceConfig =
    WhitespaceConfig { keep_trailing_newline: false, lstrip_blocks: true, trim_blocks: true };

/// A template that may be compiled.
pub(super) struct Prepared {
    pub(super) text: String,
    /// The length of its longest text outside tags, in bytes.
    pub(super) longest: usize,
}

/// A part of the source, in bytes, and what it is replaced by.
struct Edit {
    place: Range<usize>,
    text: String,
}

/// The template with `{% generation %}`, which marks an assistant's text and does not change it, replaced by a tag that
/// only opens a scope; and with products that are computed when the template runs, where they are bounded, not when it
/// is compiled.
///
/// # Errors
/// An expression is too long, or has too many signs in a row.
pub(super) fn prepared(source: &str) -> Result<Prepared, Error> {
    let (mut edits, mut numbers, mut longest) = (Vec::new(), Vec::new(), 0usize);
    let (mut tokens, mut signs, mut elifs, mut first, mut product) = (0, 0, 0, false, false);
    for token in tokenize(source, false, Default::default(), WHITESPACE) {
        // The parser reports the same error with its place.
        let Ok((token, span)) = token else { break };
        let place = span.start_offset as usize..span.end_offset as usize;
        let sign = matches!(token, Token::Plus | Token::Minus | Token::Ident("not"));
        signs = if sign { signs + 1 } else { 0 };
        tokens += 1;
        match token {
            Token::BlockStart | Token::VariableStart => {
                (tokens, product) = (0, false);
                numbers.clear();
            }
            Token::BlockEnd | Token::VariableEnd if product => edits.append(&mut numbers),
            Token::TemplateData(text) => longest = longest.max(text.len()),
            Token::Mul => product = true,
            // The filter keeps the number, and keeps the compiler from computing with it.
            Token::Int(_) | Token::Int128(_) => {
                numbers.push(Edit { text: format!("({}|int)", &source[place.clone()]), place });
            }
            Token::Ident("generation") if first => edits.push(Edit { place, text: "with".into() }),
            Token::Ident("endgeneration") if first => edits.push(Edit { place, text: "endwith".into() }),
            Token::Ident("elif") if first => elifs += 1,
            _ => {}
        }
        first = matches!(token, Token::BlockStart);
        if tokens > TOKENS || signs > SIGNS || elifs > ELIFS {
            return Err(Error::new(ErrorKind::SyntaxError, "an expression is too long or nested too deep"));
        }
    }
    let (mut out, mut copied) = (String::with_capacity(source.len()), 0);
    for Edit { place, text } in edits {
        out.push_str(&source[copied..place.start]);
        out.push_str(&text);
        copied = place.end;
    }
    out.push_str(&source[copied..]);
    Ok(Prepared { text: out, longest })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("{% generation %}a{%- endgeneration -%}", "{% with %}a{%- endwith -%}")]
    #[case("{{ generation }}{# {% generation %} #}", "{{ generation }}{# {% generation %} #}")]
    #[case(
        "{{ '{% generation %}' }}{% raw %}{% generation %}{% endraw %}",
        "{{ '{% generation %}' }}{% raw %}{% generation %}{% endraw %}"
    )]
    #[case("{% if generation %}é{%\n  generation\n%}{% endif", "{% if generation %}é{%\n  with\n%}{% endif")]
    #[case(
        "{{ 'a' * (9) }}{{ 9 + 1 }}{% set x = [0] * 3 %}",
        "{{ 'a' * ((9|int)) }}{{ 9 + 1 }}{% set x = [(0|int)] * (3|int) %}"
    )]
    fn only_the_tag_and_products_of_numbers_are_replaced(#[case] source: &str, #[case] want: &str) {
        assert_eq!(prepared(source).unwrap().text, want);
    }

    #[test]
    fn the_longest_text_is_measured() {
        assert_eq!(prepared("abc{{ 'a long text in a tag' }}ab{# a long comment #}").unwrap().longest, 3);
    }

    #[rstest]
    #[case::nots(&format!("{{{{ {} true }}}}", "not ".repeat(100_000)))]
    #[case::signs(&format!("{{{{ {}1 }}}}", "-".repeat(100_000)))]
    #[case::a_long_sum(&format!("{{{{ 1{} }}}}", "+1".repeat(100_000)))]
    #[case::many_filters(&format!("{{{{ x{} }}}}", "|trim".repeat(100_000)))]
    #[case::many_branches(&format!("{{% if a %}}{}{{% endif %}}", "{% elif a %}".repeat(100_000)))]
    fn expressions_are_bounded(#[case] source: &str) {
        assert!(prepared(source).is_err());
    }
}
