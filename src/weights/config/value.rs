//! Values of `config.json` and of GGUF metadata: what counts as a whole number or a finite one, and how a
//! message shows a value.

use serde_json::Value;

use crate::files::{NON_FINITE, printable};

/// The longest value that a message shows completely, in characters.
const SHOWN: usize = 120;

/// The value as a whole number. Python writes some of them as `1024.0`.
pub(super) fn whole(value: &Value) -> Option<usize> {
    // Above 2^53, a float is not exact.
    let exact = |number: &f64| number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(number);
    let float = || value.as_f64().filter(exact).map(|number| number as u64);
    value.as_u64().or_else(float).and_then(|number| usize::try_from(number).ok())
}

/// The value as a number that is neither NaN nor infinite.
pub(super) fn finite(value: &Value) -> Option<f64> {
    value.as_f64().filter(|number| number.is_finite())
}

/// A token's id, for a key that may also say that there is no such token: with null or, as SentencePiece and
/// llama.cpp do, with -1. `None` if the value is none of these.
pub(super) fn token(value: &Value) -> Option<Option<u32>> {
    match whole(value).and_then(|id| u32::try_from(id).ok()) {
        // -1 in 32 bits.
        Some(u32::MAX) => Some(None),
        Some(id) => Some(Some(id)),
        None => (value.is_null() || value.as_f64() == Some(-1.0)).then_some(None),
    }
}

/// The value as JSON, for a message: cut if it is long, and with NaN and infinities as Python writes them.
pub(super) fn shown(value: &Value) -> String {
    let text = match value.get(NON_FINITE).and_then(Value::as_str) {
        Some(name) => name.to_owned(),
        None => value.to_string(),
    };
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", printable(&text[..end])),
        None => printable(&text),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::an_integer(json!(1024), Some(1024))]
    #[case::a_float_without_a_fraction(json!(1024.0), Some(1024))]
    #[case::zero(json!(0.0), Some(0))]
    #[case::a_fraction(json!(1024.5), None)]
    #[case::negative(json!(-1), None)]
    #[case::too_large_to_be_exact(json!(1e300), None)]
    #[case::text(json!("1024"), None)]
    #[case::truth(json!(true), None)]
    #[case::null(json!(null), None)]
    fn whole_numbers(#[case] value: Value, #[case] number: Option<usize>) {
        assert_eq!(whole(&value), number);
    }

    #[rstest]
    #[case::an_id(json!(2), Some(Some(2)))]
    #[case::written_as_a_float(json!(2.0), Some(Some(2)))]
    #[case::null(json!(null), Some(None))]
    #[case::minus_one(json!(-1), Some(None))]
    #[case::minus_one_as_a_float(json!(-1.0), Some(None))]
    #[case::minus_one_in_32_bits(json!(u32::MAX), Some(None))]
    #[case::another_negative_number(json!(-2), None)]
    #[case::text(json!("2"), None)]
    fn token_ids(#[case] value: Value, #[case] id: Option<Option<u32>>) {
        assert_eq!(token(&value), id);
    }

    #[rstest]
    #[case::nan(json!({"__float__": "NaN"}), "NaN")]
    #[case::control_characters(json!("a\u{1b}[31m\n"), "\"a\\u001b[31m\\n\"")]
    #[case::long(json!("x".repeat(200)), &format!("\"{}…", "x".repeat(119)))]
    fn values_in_messages(#[case] value: Value, #[case] text: &str) {
        assert_eq!(shown(&value), text);
    }
}
