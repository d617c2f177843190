//! Writes values as Python's `str` and `repr` do: `True`, `None`, `['a']`.

use std::fmt::{self, Write};

use minijinja::Value;
use minijinja::value::ValueKind;

use super::bounds::{DEEPEST, Text};

/// As `str(value)`. An undefined value is empty.
pub(super) fn write_str(out: &mut Text, value: &Value) -> fmt::Result {
    match (value.as_str(), value.is_undefined()) {
        (Some(text), _) => out.write_str(text),
        (None, true) => Ok(()),
        (None, false) => write_repr(out, value, 0),
    }
}

/// As `repr(value)`.
fn write_repr(out: &mut Text, value: &Value, depth: usize) -> fmt::Result {
    if depth > DEEPEST {
        return Err(fmt::Error);
    }
    match value.kind() {
        ValueKind::Undefined => out.write_str("Undefined"),
        ValueKind::None => out.write_str("None"),
        ValueKind::Bool => out.write_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number => write_number(out, value),
        ValueKind::String => write_quoted(out, value.as_str().unwrap_or_default()),
        ValueKind::Seq | ValueKind::Iterable => {
            out.write_char('[')?;
            for (number, item) in value.try_iter().map_err(|_| fmt::Error)?.enumerate() {
                out.write_str(if number == 0 { "" } else { ", " })?;
                write_repr(out, &item, depth + 1)?;
            }
            out.write_char(']')
        }
        ValueKind::Map => {
            out.write_char('{')?;
            for (number, key) in value.try_iter().map_err(|_| fmt::Error)?.enumerate() {
                out.write_str(if number == 0 { "" } else { ", " })?;
                write_repr(out, &key, depth + 1)?;
                out.write_str(": ")?;
                write_repr(out, &value.get_item(&key).unwrap_or_default(), depth + 1)?;
            }
            out.write_char('}')
        }
        _ => write!(out, "{value}"),
    }
}

/// A number, as Python's `repr` writes it: `1.0`, `1e-05`.
pub(super) fn write_number(out: &mut impl Write, value: &Value) -> fmt::Result {
    if value.is_integer() {
        return write!(out, "{value}");
    }
    let number = f64::try_from(value.clone()).map_err(|_| fmt::Error)?;
    if !number.is_finite() {
        return out.write_str(if number.is_nan() {
            "nan"
        } else if number > 0.0 {
            "inf"
        } else {
            "-inf"
        });
    }
    // Python changes to an exponent below 1e-4 and from 1e16 on, and writes it with a sign and two digits.
    if number == 0.0 || (1e-4..1e16).contains(&number.abs()) {
        return write!(out, "{number:?}");
    }
    let text = format!("{number:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    write!(out, "{digits}e{sign}{exponent:0>2}")
}

fn write_quoted(out: &mut Text, text: &str) -> fmt::Result {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.write_char(quote)?;
    for c in text.chars() {
        match c {
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            '\\' => out.write_str("\\\\")?,
            c if c == quote => write!(out, "\\{c}")?,
            c if !printable(c) => match u32::from(c) {
                code @ 0..=0xff => write!(out, "\\x{code:02x}")?,
                code @ 0x100..=0xffff => write!(out, "\\u{code:04x}")?,
                code => write!(out, "\\U{code:08x}")?,
            },
            c => out.write_char(c)?,
        }
    }
    out.write_char(quote)
}

/// Rust escapes the same characters as Python, except marks that combine with the character before them.
fn printable(c: char) -> bool {
    c == ' ' || matches!(c, '"' | '\'') || c.escape_debug().len() == 1 || ('\u{300}'..='\u{36f}').contains(&c)
}
