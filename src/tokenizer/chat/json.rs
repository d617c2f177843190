//! Python's `json.dumps`, which transformers gives to templates as `tojson`. Unlike Jinja's own filter, it does not
//! escape characters for HTML.

use std::fmt::{self, Write};

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Value};

use super::bounds::{Budget, DEEPEST, Text};
use super::python::write_number;

/// How a value is written.
struct Style {
    ensure_ascii: bool,
    /// What one level of nesting is indented with.
    indent: Option<String>,
    /// Between items, and between a key and its value.
    separators: [String; 2],
    sort_keys: bool,
}

/// The filter `tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
pub(super) fn tojson(
    budget: &Budget,
    value: &Value,
    given: &[Value],
    kwargs: &Kwargs,
) -> Result<String, Error> {
    const NAMES: [&str; 4] = ["ensure_ascii", "indent", "separators", "sort_keys"];
    if given.len() > NAMES.len() {
        return Err(Error::from(ErrorKind::TooManyArguments));
    }
    let option = |at: usize| -> Result<Option<Value>, Error> {
        let named: Option<Value> = kwargs.get(NAMES[at])?;
        Ok(given.get(at).cloned().or(named).filter(|value| !value.is_none() && !value.is_undefined()))
    };
    let is_true = |at| Ok::<_, Error>(option(at)?.is_some_and(|value| value.is_true()));
    let indent = option(1)?.map(|indent| indentation(&indent)).transpose()?;
    let separators = match option(2)? {
        Some(pair) => [0, 1].map(|at| pair.get_item(&Value::from(at)).map(|text| text.to_string())),
        None if indent.is_some() => [Ok(",".into()), Ok(": ".into())],
        None => [Ok(", ".into()), Ok(": ".into())],
    };
    let [items, keys] = separators;
    let style =
        Style { ensure_ascii: is_true(0)?, indent, separators: [items?, keys?], sort_keys: is_true(3)? };
    kwargs.assert_all_used()?;
    if !serializable(value, 0) {
        let what = "tojson: an undefined value, or lists and objects that are nested too deep";
        return Err(Error::new(ErrorKind::InvalidOperation, what));
    }
    budget.text(|out| style.write(out, value, 0))
}

fn indentation(indent: &Value) -> Result<String, Error> {
    /// The widest indentation of one level.
    const WIDEST: usize = 64;
    let width = |text: &str| text.chars().count();
    let text = match (indent.as_str(), usize::try_from(indent.clone())) {
        (Some(text), _) => text.to_owned(),
        (None, Ok(width)) if width <= WIDEST => " ".repeat(width),
        // Python takes a negative number for 0.
        (None, Err(_)) if indent.as_i64().is_some_and(|width| width < 0) => String::new(),
        (None, _) => {
            return Err(Error::new(ErrorKind::InvalidOperation, "tojson: indent is not a small number"));
        }
    };
    if width(&text) > WIDEST {
        return Err(Error::new(ErrorKind::InvalidOperation, "tojson: indent is too long"));
    }
    Ok(text)
}

/// Whether there is JSON for every value inside. Looks at a bounded number of them; the text is bounded too.
fn serializable(value: &Value, depth: usize) -> bool {
    match value.kind() {
        ValueKind::Undefined | ValueKind::Invalid => false,
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map if depth > DEEPEST => false,
        _ => true,
    }
}

impl Style {
    fn write(&self, out: &mut Text, value: &Value, depth: usize) -> fmt::Result {
        if !serializable(value, depth) {
            return Err(fmt::Error);
        }
        match value.kind() {
            ValueKind::None => out.write_str("null"),
            ValueKind::Bool => out.write_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => write_json_number(out, value),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Box<dyn Iterator<Item = Value>> =
                    Box::new(value.try_iter().map_err(|_| fmt::Error)?);
                self.write_items(out, ['[', ']'], items, depth, |out, item| self.write(out, item, depth + 1))
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter().map_err(|_| fmt::Error)?.collect();
                if self.sort_keys {
                    keys.sort_by_key(Value::to_string);
                }
                self.write_items(out, ['{', '}'], Box::new(keys.into_iter()), depth, |out, key| {
                    self.write_key(out, key)?;
                    out.write_str(&self.separators[1])?;
                    self.write(out, &value.get_item(key).unwrap_or_default(), depth + 1)
                })
            }
            _ => self.write_text(out, &value.to_string()),
        }
    }

    fn write_items(
        &self,
        out: &mut Text,
        [open, close]: [char; 2],
        items: Box<dyn Iterator<Item = Value> + '_>,
        depth: usize,
        write: impl Fn(&mut Text, &Value) -> fmt::Result,
    ) -> fmt::Result {
        let line = |out: &mut Text, depth: usize| match &self.indent {
            None => Ok(()),
            Some(indent) => {
                out.write_char('\n')?;
                (0..depth).try_for_each(|_| out.write_str(indent))
            }
        };
        out.write_char(open)?;
        let mut empty = true;
        for item in items {
            if !empty {
                out.write_str(&self.separators[0])?;
            }
            empty = false;
            line(out, depth + 1)?;
            write(out, &item)?;
        }
        if !empty {
            line(out, depth)?;
        }
        out.write_char(close)
    }

    /// Python writes keys that are no texts as texts.
    fn write_key(&self, out: &mut Text, key: &Value) -> fmt::Result {
        match key.kind() {
            ValueKind::None => out.write_str("\"null\""),
            ValueKind::Bool => out.write_str(if key.is_true() { "\"true\"" } else { "\"false\"" }),
            ValueKind::Number => {
                out.write_char('"')?;
                write_json_number(out, key)?;
                out.write_char('"')
            }
            _ => self.write_text(out, &key.to_string()),
        }
    }

    fn write_text(&self, out: &mut Text, text: &str) -> fmt::Result {
        out.write_char('"')?;
        for c in text.chars() {
            match c {
                '"' => out.write_str("\\\"")?,
                '\\' => out.write_str("\\\\")?,
                '\n' => out.write_str("\\n")?,
                '\r' => out.write_str("\\r")?,
                '\t' => out.write_str("\\t")?,
                '\u{8}' => out.write_str("\\b")?,
                '\u{c}' => out.write_str("\\f")?,
                c if c < ' ' => write!(out, "\\u{:04x}", u32::from(c))?,
                c if self.ensure_ascii && !c.is_ascii() => {
                    let mut units = [0; 2];
                    c.encode_utf16(&mut units).iter().try_for_each(|unit| write!(out, "\\u{unit:04x}"))?;
                }
                c => out.write_char(c)?,
            }
        }
        out.write_char('"')
    }
}

fn write_json_number(out: &mut Text, value: &Value) -> fmt::Result {
    match f64::try_from(value.clone()) {
        Ok(number) if number.is_nan() => out.write_str("NaN"),
        Ok(number) if number.is_infinite() => {
            out.write_str(if number > 0.0 { "Infinity" } else { "-Infinity" })
        }
        _ => write_number(out, value),
    }
}
