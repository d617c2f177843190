//! Reads JSON as Python's `json` module writes it.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

use super::json::json;

/// The only key of the object that stands for a number that JSON does not have; its value is `NaN`, `Infinity`
/// or `-Infinity`. transformers 5 writes such objects too.
pub const NON_FINITE: &str = "__float__";

/// Like [`json`], but also accepts what Python writes or reads: a byte-order mark at the start, and the bare
/// numbers `NaN`, `Infinity` and `-Infinity`, which become objects with the key [`NON_FINITE`].
///
/// # Errors
/// Those of [`json`]. If the text contains such a bare number, columns count the object instead of it.
pub fn python_json<T: DeserializeOwned>(text: &(impl AsRef<[u8]> + ?Sized)) -> serde_json::Result<T> {
    let bytes = text.as_ref();
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    json(&*with_objects(bytes))
}

/// The text with each bare NaN or infinity outside a string replaced by an object.
fn with_objects(text: &[u8]) -> Cow<'_, [u8]> {
    const NAMES: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    let (mut out, mut copied, mut at, mut in_string) = (Vec::new(), 0, 0, false);
    while at < text.len() {
        match text[at] {
            b'"' => in_string = !in_string,
            b'\\' if in_string => at += 1,
            b'-' | b'I' | b'N' if !in_string => {
                if let Some(name) = NAMES.into_iter().find(|name| text[at..].starts_with(name)) {
                    out.extend_from_slice(&text[copied..at]);
                    out.extend_from_slice(format!("{{\"{NON_FINITE}\":\"").as_bytes());
                    out.extend_from_slice(name);
                    out.extend_from_slice(b"\"}");
                    at += name.len();
                    copied = at;
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.extend_from_slice(&text[copied..]);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    #[rstest]
    #[case::a_byte_order_mark("\u{feff}{\"a\": 1}", json!({"a": 1}))]
    #[case::nan("{\"a\": NaN}", json!({"a": {"__float__": "NaN"}}))]
    #[case::infinities("[Infinity, -Infinity]", json!([{"__float__": "Infinity"}, {"__float__": "-Infinity"}]))]
    #[case::in_strings(r#"{"NaN": "-Infinity \" NaN \\", "b": NaN}"#, json!({"NaN": "-Infinity \" NaN \\", "b": {"__float__": "NaN"}}))]
    #[case::as_transformers_5_writes_it(r#"{"a": {"__float__": "NaN"}}"#, json!({"a": {"__float__": "NaN"}}))]
    #[case::nothing_of_it(r#"{"a": [-1, null]}"#, json!({"a": [-1, null]}))]
    fn what_python_writes_is_read(#[case] text: &str, #[case] value: Value) {
        assert_eq!(python_json::<Value>(text).unwrap(), value);
    }

    #[rstest]
    #[case::another_name("nan")]
    #[case::a_longer_name("NaNa")]
    #[case::two_marks("\u{feff}\u{feff}1")]
    #[case::a_cut_string("\"\\")]
    #[case::duplicate_keys("{\"a\": NaN, \"a\": 1}")]
    fn other_text_is_refused(#[case] text: &str) {
        assert!(python_json::<Value>(text).is_err());
    }
}
