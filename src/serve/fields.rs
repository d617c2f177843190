//! The fields of a JSON object, taken one by one: each is checked, and none is left over unnoticed.

use serde_json::{Map, Value};

use super::problem::Problem;

/// What values a parameter takes. `null` is always allowed, and means that the parameter is not set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Values {
    Flag,
    /// A whole number from the first to the second.
    Whole(i64, i64),
    /// A number from the first to the second.
    Number(f64, f64),
    /// A number above the first and up to the second.
    Above(f64, f64),
    /// Any text.
    Text,
    /// What the code that reads it says.
    Any,
}

/// A parameter of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameter {
    pub name: &'static str,
    pub values: Values,
    /// What it does, for the OpenAPI document.
    pub about: &'static str,
}

/// The fields of an object that were not taken yet.
#[derive(Debug)]
pub struct Fields {
    map: Map<String, Value>,
    /// The object's own path with a dot, or nothing: `messages[0].`.
    at: String,
}

impl Fields {
    /// The fields of `value`, whose path is `at`, or empty for the whole body.
    ///
    /// # Errors
    /// It is no object.
    pub fn of(value: Value, at: &str) -> Result<Self, Problem> {
        let Value::Object(map) = value else {
            let what = format!("must be an object, not {}", kind(&value));
            return Err(match at {
                "" => Problem::not_json(format!("it {what}")),
                at => Problem::invalid(at, what),
            });
        };
        Ok(Self { map, at: if at.is_empty() { String::new() } else { format!("{at}.") } })
    }

    /// The path of a field.
    pub fn path(&self, name: &str) -> String {
        format!("{}{name}", self.at)
    }

    /// Takes a field. `null` counts as absent.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name).filter(|value| !value.is_null())
    }

    pub fn flag(&mut self, parameter: &Parameter) -> Result<Option<bool>, Problem> {
        Ok(self.checked(parameter)?.and_then(|value| value.as_bool()))
    }

    pub fn whole(&mut self, parameter: &Parameter) -> Result<Option<i64>, Problem> {
        Ok(self.checked(parameter)?.as_ref().and_then(whole))
    }

    pub fn number(&mut self, parameter: &Parameter) -> Result<Option<f64>, Problem> {
        Ok(self.checked(parameter)?.and_then(|value| value.as_f64()))
    }

    pub fn text(&mut self, parameter: &Parameter) -> Result<Option<String>, Problem> {
        match self.checked(parameter)? {
            Some(Value::String(text)) => Ok(Some(text)),
            _ => Ok(None),
        }
    }

    /// Takes the parameter's value, if it has one that is allowed.
    fn checked(&mut self, parameter: &Parameter) -> Result<Option<Value>, Problem> {
        let Some(value) = self.take(parameter.name) else { return Ok(None) };
        let wrong = |wanted: String| Problem::invalid(&self.path(parameter.name), wanted);
        let number = value.as_f64().unwrap_or(f64::NAN);
        match parameter.values {
            Values::Flag if !value.is_boolean() => {
                Err(wrong(format!("must be true or false, not {}", kind(&value))))
            }
            Values::Whole(least, most) if !whole(&value).is_some_and(|n| (least..=most).contains(&n)) => {
                Err(wrong(format!("must be a whole number from {least} to {most}, not {}", shown(&value))))
            }
            Values::Number(least, most) if !(least..=most).contains(&number) => {
                Err(wrong(format!("must be a number from {least} to {most}, not {}", shown(&value))))
            }
            Values::Above(least, most) if !(number > least && number <= most) => {
                Err(wrong(format!("must be a number above {least} and up to {most}, not {}", shown(&value))))
            }
            Values::Text if !value.is_string() => {
                Err(wrong(format!("must be a string, not {}", kind(&value))))
            }
            _ => Ok(Some(value)),
        }
    }

    /// The names of the fields that are left.
    pub fn names(&self) -> Vec<String> {
        self.map.keys().cloned().collect()
    }

    /// Refuses every field that is left.
    pub fn finish(mut self) -> Result<(), Problem> {
        match self.names().into_iter().find(|name| self.take(name).is_some()) {
            Some(name) => Err(Problem::unknown(&self.path(&shortened(&name)))),
            None => Ok(()),
        }
    }
}

/// A whole number, also if it is written as `2.0`.
fn whole(value: &Value) -> Option<i64> {
    let exact = |number: f64| (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64);
    value.as_i64().or_else(|| exact(value.as_f64()?))
}

/// What a value is, for a message.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A number itself, and the kind of anything else.
fn shown(value: &Value) -> String {
    if value.is_number() { value.to_string() } else { kind(value).to_owned() }
}

/// A name that a client chose, cut so that it fits into a message.
fn shortened(name: &str) -> String {
    rbees_check::files::printable(&name.chars().take(60).collect::<String>())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn of(values: Values) -> Parameter {
        Parameter { name: "x", values, about: "" }
    }

    #[rstest]
    #[case::flag(Values::Flag, json!(true))]
    #[case::absent(Values::Flag, json!(null))]
    #[case::least(Values::Whole(1, 8), json!(1))]
    #[case::most(Values::Whole(1, 8), json!(8))]
    #[case::whole_with_a_point(Values::Whole(1, 8), json!(2.0))]
    #[case::number(Values::Number(0.0, 2.0), json!(0))]
    #[case::above(Values::Above(0.0, 1.0), json!(1))]
    fn allowed_values_are_taken(#[case] values: Values, #[case] value: Value) {
        let mut fields = Fields::of(json!({"x": value}), "").unwrap();
        assert_eq!(fields.checked(&of(values)).unwrap(), Some(value).filter(|value| !value.is_null()));
        fields.finish().unwrap();
    }

    #[rstest]
    #[case(Values::Flag, json!("true"), "x: must be true or false, not a string")]
    #[case(Values::Whole(1, 8), json!(9), "x: must be a whole number from 1 to 8, not 9")]
    #[case(Values::Whole(1, 8), json!(1.5), "x: must be a whole number from 1 to 8, not 1.5")]
    #[case(Values::Whole(1, 8), json!(u64::MAX), "not 18446744073709551615")]
    #[case(Values::Number(0.0, 2.0), json!([]), "x: must be a number from 0 to 2, not a list")]
    #[case(Values::Above(0.0, 1.0), json!(0.0), "x: must be a number above 0 and up to 1, not 0.0")]
    #[case(Values::Text, json!({}), "x: must be a string, not an object")]
    fn other_values_are_refused_by_name(#[case] values: Values, #[case] value: Value, #[case] message: &str) {
        let problem = Fields::of(json!({"x": value}), "").unwrap().checked(&of(values)).unwrap_err().json();
        assert!(problem.contains(message) && problem.contains("\"param\":\"x\""), "{problem}");
    }

    #[test]
    fn a_field_that_is_left_is_refused_with_its_path() {
        let fields = Fields::of(json!({"a": null, "b": 1}), "messages[0]").unwrap();
        assert!(fields.finish().unwrap_err().json().contains("messages[0].b: this server does not know"));
    }
}
