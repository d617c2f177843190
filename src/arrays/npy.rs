//! Reads the header of an `.npy` file. We do not use an existing reader because those compute the size from
//! an unchecked shape.

use py_literal::Value;
use safetensors::Dtype;

/// The longest accepted header, in bytes; numpy itself refuses longer ones.
pub(super) const LONGEST: usize = 10_000;

/// The deepest accepted nesting of brackets. A structured type needs three; without a limit the parser's
/// stack would overflow.
const DEEPEST: usize = 4;

/// The content of a header.
#[derive(Debug, PartialEq)]
pub(super) struct Header {
    /// The type of the numbers.
    pub dtype: Dtype,
    /// The dimensions.
    pub shape: Vec<usize>,
    /// Is the first axis the one whose neighbours are next to each other (`fortran_order`)?
    pub fortran: bool,
    /// The number of bytes before the first value.
    pub length: usize,
}

/// Reads a header at the beginning of `bytes`.
///
/// # Errors
/// Says what is wrong with the header.
pub(super) fn header(bytes: &[u8]) -> Result<Header, String> {
    let (start, length) = match bytes {
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, _, a, b, ..] => (10, u16::from_le_bytes([*a, *b]) as usize),
        [0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, _, a, b, c, d, ..] => {
            (12, u32::from_le_bytes([*a, *b, *c, *d]) as usize)
        }
        _ => return Err("not an .npy array".into()),
    };
    if length > LONGEST {
        return Err(format!("its header has {length} bytes; at most {LONGEST} are allowed"));
    }
    let text = bytes.get(start..).and_then(|rest| rest.get(..length)).ok_or("its header is cut off")?;
    let text = std::str::from_utf8(text).map_err(|_| "its header is not text")?;
    let Fields { descr, fortran_order, shape } = fields(text)?;
    let dtype = match descr.as_string().map(String::as_str) {
        Some("<f8") => Dtype::F64,
        Some("<f4") => Dtype::F32,
        Some("<f2") => Dtype::F16,
        Some("<i8") => Dtype::I64,
        Some("<i4") => Dtype::I32,
        Some("<u4") => Dtype::U32,
        Some("|u1") => Dtype::U8,
        Some("|b1") => Dtype::BOOL,
        Some(other) => {
            return Err(format!("its numbers have the type {other:?}: write little-endian f64, f32 or f16"));
        }
        None => return Err("its numbers have a structured type: write f64, f32 or f16".into()),
    };
    let Value::Boolean(fortran) = fortran_order else {
        return Err("its fortran_order is neither True nor False".into());
    };
    let sizes = shape.as_tuple().ok_or("its shape is not a tuple")?;
    let size = |value: &Value| value.as_integer().and_then(|n| usize::try_from(n).ok());
    let shape: Option<Vec<usize>> = sizes.iter().map(size).collect();
    let shape = shape.ok_or("its shape has an entry that is not a whole number")?;
    Ok(Header { dtype, shape, fortran, length: start + length })
}

/// The three entries of a header's dictionary.
struct Fields {
    descr: Value,
    fortran_order: Value,
    shape: Value,
}

/// Parses the dictionary of a header. Each entry must be present once, and there must be no others.
fn fields(text: &str) -> Result<Fields, String> {
    let mut depth = 0usize;
    for c in text.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return Err("its header has too many brackets inside each other".into());
        }
    }
    let Ok(Value::Dict(entries)) = text.trim().parse::<Value>() else {
        return Err("its header is not a Python dictionary".into());
    };
    let [mut descr, mut fortran_order, mut shape] = [None, None, None];
    for (key, value) in entries {
        let Value::String(key) = key else { return Err("its header has a key that is not a string".into()) };
        let field = match key.as_str() {
            "descr" => &mut descr,
            "fortran_order" => &mut fortran_order,
            "shape" => &mut shape,
            other => return Err(format!("its header has an unknown key {other:?}")),
        };
        if field.replace(value).is_some() {
            return Err(format!("its header has the key {key} twice"));
        }
    }
    Ok(Fields {
        descr: descr.ok_or("its header has no descr")?,
        fortran_order: fortran_order.ok_or("its header has no fortran_order")?,
        shape: shape.ok_or("its header has no shape")?,
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn npy(dict: &str) -> Vec<u8> {
        let length = (dict.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\x00", &length[..], dict.as_bytes()].concat()
    }

    #[rstest]
    #[case::as_numpy_writes_it("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n")]
    #[case::in_another_order("{'shape': (2, 3), 'descr': '<f4', 'fortran_order': False}")]
    fn a_header_gives_type_shape_and_offset_of_the_values(#[case] dict: &str) {
        let bytes = npy(dict);
        let want = Header { dtype: Dtype::F32, shape: vec![2, 3], fortran: false, length: bytes.len() };
        assert_eq!(header(&bytes), Ok(want));
    }

    #[rstest]
    #[case(
        "{'descr': '>f4', 'fortran_order': False, 'shape': (2,)}",
        "its numbers have the type \">f4\": write little-endian f64, f32 or f16"
    )]
    #[case::a_number_for_a_flag(
        "{'descr': '<f4', 'fortran_order': 1, 'shape': (2,)}",
        "its fortran_order is neither True nor False"
    )]
    #[case::a_text_for_a_flag(
        "{'descr': '<f4', 'fortran_order': 'True', 'shape': (2,)}",
        "its fortran_order is neither True nor False"
    )]
    #[case(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
        "its shape has an entry that is not a whole number"
    )]
    #[case("{'descr': '<f4', 'fortran_order': False, 'shape': 3}", "its shape is not a tuple")]
    #[case(
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}",
        "its numbers have a structured type: write f64, f32 or f16"
    )]
    #[case::twice(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'shape': (3,)}",
        "its header has the key shape twice"
    )]
    #[case::one_more(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'name': 'x'}",
        "its header has an unknown key \"name\""
    )]
    #[case("{}", "its header has no descr")]
    #[case("import os", "its header is not a Python dictionary")]
    #[case::deep("((((((((((", "its header has too many brackets inside each other")]
    fn the_error_says_what_is_wrong_with_the_header(#[case] dict: &str, #[case] why: &str) {
        assert_eq!(header(&npy(dict)), Err(why.to_owned()));
    }

    #[test]
    fn a_header_that_is_cut_off_or_too_long_is_refused() {
        assert_eq!(header(b"\x93NUMPY\x01\x00\xff\x00{"), Err("its header is cut off".into()));
        let huge = b"\x93NUMPY\x02\x00\xff\xff\xff\xff{";
        assert_eq!(header(huge), Err("its header has 4294967295 bytes; at most 10000 are allowed".into()));
        assert_eq!(header(b"PK"), Err("not an .npy array".into()));
    }
}
