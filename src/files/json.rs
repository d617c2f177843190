//! Reads JSON and refuses duplicate keys.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Reads JSON like [`serde_json::from_slice`], but refuses an object, at any depth, that has the same key
/// twice: serde_json takes the last value and other readers take the first, so the meaning of the file is
/// ambiguous.
///
/// # Errors
/// Those of [`serde_json::from_slice`]; `duplicate key "x"` with its line and column.
pub fn json<'a, T: Deserialize<'a>>(text: &'a (impl AsRef<[u8]> + ?Sized)) -> serde_json::Result<T> {
    let bytes = text.as_ref();
    UniqueKeys.deserialize(&mut serde_json::Deserializer::from_slice(bytes))?;
    serde_json::from_slice(bytes)
}

/// Walks over one JSON value and stores only the keys of the objects that it is currently inside.
struct UniqueKeys;

impl<'de> DeserializeSeed<'de> for UniqueKeys {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if let Some(key) = keys.replace(key) {
                return Err(A::Error::custom(format_args!("duplicate key {key:?}")));
            }
            map.next_value_seed(UniqueKeys)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(UniqueKeys)?.is_some() {}
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::{Map, Value};

    use super::*;

    #[rstest]
    #[case::at_the_top("{\"a\": 1,\n \"b\": 2,\n \"a\": 1}", "duplicate key \"a\" at line 3 column 4")]
    #[case::in_an_object(r#"{"a": {"b": 1, "b": 2}}"#, "duplicate key \"b\" at line 1 column 18")]
    #[case::in_an_array(r#"[0, [{"b": 1, "b": 2}]]"#, "duplicate key \"b\" at line 1 column 17")]
    #[case::in_a_value_of_an_unknown_key(
        r#"{"a": 1, "x": {"y": null, "y": 0}}"#,
        "duplicate key \"y\" at line 1 column 29"
    )]
    #[case::spelled_in_two_ways(r#"{"a": 1, "\u0061": 2}"#, "duplicate key \"a\" at line 1 column 17")]
    #[case::empty(r#"{"": 1, "": 2}"#, "duplicate key \"\" at line 1 column 10")]
    fn the_error_for_a_duplicate_key_has_its_line_and_column(#[case] text: &str, #[case] line: &str) {
        assert_eq!(json::<Value>(text).unwrap_err().to_string(), line);
    }

    #[rstest]
    #[case::in_two_objects(r#"[{"a": 1}, {"a": 1}]"#)]
    #[case::in_an_object_inside_another(r#"{"a": {"a": {"a": 1}}}"#)]
    #[case::in_another_case(r#"{"a": 1, "A": 1}"#)]
    #[case::all_kinds_of_values(r#"{"a": [null, true, -1, 18446744073709551615, 1e300, "", {}]}"#)]
    fn equal_keys_of_different_objects_are_accepted(#[case] text: &str) {
        assert_eq!(json::<Value>(text).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    }

    #[rstest]
    #[case::nothing("")]
    #[case::cut("{\"a\": ")]
    #[case::two_values("{} {}")]
    #[case::not_a_number("NaN")]
    #[case::nested_without_end(&"{\"a\":".repeat(100_000))]
    #[case::another_type("[]")]
    fn other_errors_are_those_of_serde_json(#[case] text: &str) {
        let ours = json::<Map<String, Value>>(text).unwrap_err().to_string();
        assert_eq!(ours, serde_json::from_str::<Map<String, Value>>(text).unwrap_err().to_string());
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_refused() {
        assert!(json::<Value>(b"{\"\xff\": 1}").is_err());
    }

    #[test]
    fn strings_can_be_borrowed() {
        assert_eq!(json::<Vec<&str>>(r#"["a", "b"]"#).unwrap(), ["a", "b"]);
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            prop::num::f64::NORMAL.prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map(".{0,3}", inner, 0..8)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn json_written_by_serde_json_is_read_like_serde_json(value in values()) {
            let text = serde_json::to_vec(&value).unwrap();
            prop_assert_eq!(json::<Value>(&text).unwrap(), serde_json::from_slice::<Value>(&text).unwrap());
        }
    }
}
