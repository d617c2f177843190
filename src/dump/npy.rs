//! The header of an `.npy` file. Written here because a shape is multiplied out by readers that trust it.

/// What a header says.
#[derive(Debug, PartialEq)]
pub(super) struct Header {
    /// As safetensors would name it: `F32`.
    pub dtype: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Bytes up to the first value.
    pub length: usize,
}

/// Reads a header at the beginning of `bytes`; what is wrong with it otherwise, in words.
pub(super) fn header(bytes: &[u8]) -> Result<Header, String> {
    let (start, length) = match bytes {
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, _, a, b, ..] => (10, u16::from_le_bytes([*a, *b]) as usize),
        [0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, _, a, b, c, d, ..] => {
            (12, u32::from_le_bytes([*a, *b, *c, *d]) as usize)
        }
        _ => return Err("not an .npy array".into()),
    };
    let text = bytes.get(start..).and_then(|rest| rest.get(..length)).ok_or("its header is cut off")?;
    let text = std::str::from_utf8(text).map_err(|_| "its header is no text")?;
    let dtype = match quoted(after(text, "descr")?) {
        Some("<f8") => "F64",
        Some("<f4") => "F32",
        Some("<f2") => "F16",
        Some("<i8") => "I64",
        Some("<i4") => "I32",
        Some("<u4") => "U32",
        Some("|u1") => "U8",
        Some("|b1") => "BOOL",
        Some(other) => return Err(format!("numbers of type {other}: write little-endian f64, f32 or f16")),
        None => return Err("its numbers are no plain type".into()),
    };
    if after(text, "fortran_order")?.starts_with("True") {
        return Err("in Fortran order: write np.ascontiguousarray(…)".into());
    }
    let shape = after(text, "shape")?.strip_prefix('(').and_then(|rest| rest.split_once(')'));
    let (shape, _) = shape.ok_or("its shape is no tuple")?;
    let sizes = shape.split(',').map(str::trim).filter(|size| !size.is_empty());
    let shape: Option<Vec<usize>> = sizes.map(|size| size.parse().ok()).collect();
    let shape = shape.ok_or("its shape is not of whole numbers")?;
    Ok(Header { dtype: dtype.into(), shape, length: start + length })
}

/// What stands behind `'key':`.
fn after<'a>(text: &'a str, key: &str) -> Result<&'a str, String> {
    let found = text.split_once(&format!("'{key}':")).map(|(_, rest)| rest.trim_start());
    found.ok_or_else(|| format!("its header has no {key}"))
}

fn quoted(text: &str) -> Option<&str> {
    text.strip_prefix('\'')?.split_once('\'').map(|(inside, _)| inside)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn npy(dict: &str) -> Vec<u8> {
        let length = (dict.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\x00", &length[..], dict.as_bytes()].concat()
    }

    #[test]
    fn a_header_says_type_shape_and_where_values_begin() {
        let bytes = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n");
        let want = Header { dtype: "F32".into(), shape: vec![2, 3], length: bytes.len() };
        assert_eq!(header(&bytes), Ok(want));
    }

    #[rstest]
    #[case(
        "{'descr': '>f4', 'fortran_order': False, 'shape': (2,)}",
        "numbers of type >f4: write little-endian f64, f32 or f16"
    )]
    #[case(
        "{'descr': '<f4', 'fortran_order': True, 'shape': (2,)}",
        "in Fortran order: write np.ascontiguousarray(…)"
    )]
    #[case("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", "its shape is not of whole numbers")]
    #[case(
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}",
        "its numbers are no plain type"
    )]
    #[case("{}", "its header has no descr")]
    fn what_cannot_be_read_is_said(#[case] dict: &str, #[case] why: &str) {
        assert_eq!(header(&npy(dict)), Err(why.to_owned()));
    }

    #[test]
    fn a_header_longer_than_the_file_is_cut_off() {
        assert_eq!(header(b"\x93NUMPY\x02\x00\xff\xff\xff\xff{"), Err("its header is cut off".into()));
        assert_eq!(header(b"PK"), Err("not an .npy array".into()));
    }
}
