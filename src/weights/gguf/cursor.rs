//! A bounded reader for untrusted bytes: whatever a header claims, nothing is read past the end, and nothing
//! is allocated that the file could not contain.

use std::ops::Range;

/// Why a header cannot be used.
#[derive(Debug)]
pub(super) struct Problem {
    /// One lower-case clause, without the file's name.
    pub(super) what: String,
    /// What to do about it.
    pub(super) hint: &'static str,
}

impl Problem {
    /// The header contradicts itself or the file's size.
    pub(super) fn damaged(what: impl Into<String>) -> Self {
        let hint = "the file is damaged or incomplete: fetch it again and compare its SHA-256";
        Self { what: what.into(), hint }
    }

    /// The file is well-formed, but requires something that this crate does not support.
    pub(super) fn unsupported(what: impl Into<String>) -> Self {
        let hint = "convert the model again with a recent llama.cpp, as F16, Q8_0, Q4_0 or a K type";
        Self { what: what.into(), hint }
    }

    /// Prefixes the message with the place of the problem.
    pub(super) fn within(self, place: impl std::fmt::Display) -> Self {
        Self { what: format!("{place}: {}", self.what), ..self }
    }
}

/// The width of lengths and counts in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Lengths {
    /// 32 bits: version 1 of the format.
    Short,
    /// 64 bits: since version 2.
    #[default]
    Long,
}

/// Reads little-endian values from `bytes` and keeps its position.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    lengths: Lengths,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize, lengths: Lengths) -> Self {
        Self { bytes, at: at.min(bytes.len()), lengths }
    }

    /// How wide lengths and counts are.
    pub(super) fn lengths(&self) -> Lengths {
        self.lengths
    }

    /// Sets how wide lengths and counts are from here on.
    pub(super) fn set_lengths(&mut self, lengths: Lengths) {
        self.lengths = lengths;
    }

    /// The offset of the next byte, from the start of the file.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Skips `len` bytes and returns their range. `what` names them in the error if they are missing.
    pub(super) fn skip(&mut self, len: u64, what: &str) -> Result<Range<usize>, Problem> {
        let left = self.bytes.len() - self.at;
        match usize::try_from(len) {
            Ok(len) if len <= left => {
                let start = self.at;
                self.at += len;
                Ok(start..self.at)
            }
            _ => Err(Problem::damaged(format!(
                "{what} takes {len} bytes at offset {}, but {left} are left",
                self.at
            ))),
        }
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Problem> {
        let range = self.skip(N as u64, what)?;
        let mut out = [0; N];
        out.copy_from_slice(&self.bytes[range]);
        Ok(out)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, Problem> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, Problem> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// Reads a length, a count or a dimension.
    pub(super) fn length(&mut self, what: &str) -> Result<u64, Problem> {
        match self.lengths {
            Lengths::Short => self.u32(what).map(u64::from),
            Lengths::Long => self.u64(what),
        }
    }

    /// Reads a length, then that many bytes of UTF-8.
    pub(super) fn string(&mut self, what: &str) -> Result<&'a str, Problem> {
        let len = self.length(what)?;
        let range = self.skip(len, what)?;
        let start = range.start;
        std::str::from_utf8(&self.bytes[range])
            .map_err(|_| Problem::damaged(format!("{what} at offset {start} is not UTF-8")))
    }

    /// Reads a count of items that take at least `least` bytes each. It is an error if the rest of the file
    /// cannot contain them, which is checked before anything is allocated for them.
    pub(super) fn count(&mut self, least: u64, what: &str) -> Result<u64, Problem> {
        let count = self.length(what)?;
        let left = (self.bytes.len() - self.at) as u64;
        if count.checked_mul(least).is_none_or(|need| need > left) {
            return Err(Problem::damaged(format!("{what} of {count} cannot fit into the {left} bytes left")));
        }
        Ok(count)
    }
}
