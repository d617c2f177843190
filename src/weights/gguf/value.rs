//! One metadata value of a GGUF header.

use std::ops::Range;

use serde_json::{Value as Json, json};

use super::cursor::{Cursor, Lengths, Problem};
use crate::files::NON_FINITE;

/// The type codes of the format (`gguf_metadata_value_type` in its specification).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Str,
    Array,
    U64,
    I64,
    F64,
}

impl Kind {
    fn from_code(code: u32) -> Result<Self, Problem> {
        use Kind::*;
        let all = [U8, I8, U16, I16, U32, I32, F32, Bool, Str, Array, U64, I64, F64];
        all.get(code as usize).copied().ok_or_else(|| {
            Problem::damaged(format!("value type {code} does not exist; valid types are 0 to 12"))
        })
    }

    /// The smallest number of bytes that one value takes.
    fn least(self, lengths: Lengths) -> u64 {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::Str if lengths == Lengths::Short => 4,
            Self::U64 | Self::I64 | Self::F64 | Self::Str => 8,
            Self::Array => 12,
        }
    }
}

/// The place and type of a value, which is decoded only when requested. An array of 128 000 tokens therefore
/// costs nothing until a tokenizer is built.
#[derive(Clone, Debug)]
pub(super) struct Value {
    kind: Kind,
    /// Number of elements, for an array of `kind`.
    count: Option<u64>,
    at: Range<usize>,
    lengths: Lengths,
}

/// The most texts in one array. The largest vocabularies have 262,144 tokens, and twice as many merges.
const MOST_TEXTS: u64 = 1 << 22;

impl Value {
    /// Reads a type code and skips the value after it.
    ///
    /// # Errors
    /// Unknown types, values that run past the end, strings that are not UTF-8, booleans other
    /// than 0 and 1, and arrays of arrays (no known file has one).
    pub(super) fn scan(cursor: &mut Cursor, bytes: &[u8]) -> Result<Self, Problem> {
        let (kind, lengths) = (Kind::from_code(cursor.u32("a value type")?)?, cursor.lengths());
        if kind != Kind::Array {
            let start = cursor.position();
            element(cursor, kind, bytes)?;
            return Ok(Self { kind, count: None, at: start..cursor.position(), lengths });
        }
        let kind = Kind::from_code(cursor.u32("an array type")?)?;
        if kind == Kind::Array {
            return Err(Problem::unsupported("arrays of arrays are not supported"));
        }
        let count = cursor.count(kind.least(lengths), "an array")?;
        let start = cursor.position();
        if kind == Kind::Str {
            if count > MOST_TEXTS {
                let what = format!("an array of {count} texts: at most {MOST_TEXTS} are allowed");
                return Err(Problem::unsupported(what));
            }
            for _ in 0..count {
                cursor.string("a string")?;
            }
        } else {
            let at = cursor.skip(count * kind.least(lengths), "an array")?;
            if kind == Kind::Bool
                && let Some(&other) = bytes[at].iter().find(|&&byte| byte > 1)
            {
                return Err(Problem::damaged(format!("a boolean is {other}, neither 0 nor 1")));
            }
        }
        Ok(Self { kind, count: Some(count), at: start..cursor.position(), lengths })
    }

    /// Number of elements of an array; `None` for a single value.
    pub(super) fn count(&self) -> Option<u64> {
        self.count
    }

    /// The value as JSON. NaN and infinities become objects with the key [`NON_FINITE`].
    pub(super) fn to_json(&self, bytes: &[u8]) -> Json {
        let mut cursor = Cursor::new(&bytes[..self.at.end], self.at.start, self.lengths);
        // `scan` decoded the same bytes in the same way, so no element can be missing here.
        let mut next = || element(&mut cursor, self.kind, bytes).unwrap_or(Json::Null);
        match self.count {
            None => next(),
            Some(count) => (0..count).map(|_| next()).collect(),
        }
    }
}

/// Decodes one value that is not an array.
fn element(cursor: &mut Cursor, kind: Kind, bytes: &[u8]) -> Result<Json, Problem> {
    if kind == Kind::Str {
        return cursor.string("a string").map(Json::from);
    }
    let at = cursor.skip(kind.least(cursor.lengths()), "a value")?;
    let (mut raw, bits) = ([0; 8], 8 * at.len() as u32);
    raw[..at.len()].copy_from_slice(&bytes[at]);
    let word = u64::from_le_bytes(raw);
    // Moves the sign bit to the top and back, which copies it down over the unused bytes.
    let signed = ((word << (64 - bits)) as i64) >> (64 - bits);
    Ok(match kind {
        Kind::U8 | Kind::U16 | Kind::U32 | Kind::U64 => Json::from(word),
        Kind::I8 | Kind::I16 | Kind::I32 | Kind::I64 => Json::from(signed),
        Kind::F32 => float(f64::from(f32::from_bits(word as u32))),
        Kind::F64 => float(f64::from_bits(word)),
        Kind::Bool if word <= 1 => Json::from(word == 1),
        Kind::Bool => return Err(Problem::damaged(format!("a boolean is {word}, neither 0 nor 1"))),
        Kind::Str | Kind::Array => {
            return Err(Problem::damaged("a value of this type is in the wrong place"));
        }
    })
}

fn float(number: f64) -> Json {
    let name = match number {
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        number if number.is_nan() => "NaN",
        number => return Json::from(number),
    };
    json!({ NON_FINITE: name })
}
