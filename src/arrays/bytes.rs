//! Maps the bytes of a file into memory, so that an array costs memory only when it is read.

use std::borrow::Cow;
use std::fs::File;
use std::ops::{Deref, Range};
use std::path::Path;

use memmap2::MmapOptions;

use crate::{Error, Result, files};

const HINT: &str = "check the path and its permissions";

/// The bytes of a file: mapped, compiled in, or read into memory.
#[derive(Debug)]
pub(crate) enum Bytes {
    /// A file or a part of it, mapped read-only. A whole file starts on a page boundary.
    Mapped(memmap2::Mmap, File),
    /// Bytes that are compiled into the program. They have no particular alignment.
    Static(&'static [u8]),
    /// A file that was read into memory.
    Owned(Vec<u8>),
}

impl Bytes {
    /// Maps a whole regular file.
    ///
    /// # Errors
    /// The file cannot be opened or mapped, is not a regular file, is empty, or contains text that only stands in for
    /// the file, like a pointer of Git LFS.
    pub(crate) fn map(path: &Path) -> Result<Self> {
        let (file, length) = files::open(path, HINT)?;
        if length == 0 {
            return Err(Error::file(path, "is empty", "fetch or write the file again"));
        }
        let bytes = Self::mapped(path, file, &MmapOptions::new())?;
        files::refuse_stand_in(path, &bytes)?;
        Ok(bytes)
    }

    /// Maps a part of a regular file. It uses memory only for the pages that are read, and only while the map
    /// exists.
    ///
    /// # Errors
    /// Those of [`Bytes::map`]; the file ends before the part does.
    pub(crate) fn map_part(path: &Path, range: &Range<usize>) -> Result<Self> {
        let (file, length) = files::open(path, HINT)?;
        Self::mapped_part(path, file, length, range)
    }

    /// A part of these bytes in a map of its own, from the same opened file, so that the pages that are read leave the
    /// memory with it. `path` is for messages.
    ///
    /// # Errors
    /// The file cannot be mapped, or ends before the part does.
    pub(crate) fn apart(&self, path: &Path, range: &Range<usize>) -> Result<Self> {
        let Self::Mapped(_, file) = self else { return Ok(Self::Owned(self[range.clone()].to_vec())) };
        let unreadable = |e| Error::file(path, e, HINT);
        let (file, length) =
            (file.try_clone().map_err(unreadable)?, file.metadata().map_err(unreadable)?.len());
        Self::mapped_part(path, file, length, range)
    }

    fn mapped_part(path: &Path, file: File, length: u64, range: &Range<usize>) -> Result<Self> {
        if length < range.end as u64 {
            return Err(Error::file(
                path,
                "has become shorter",
                "run again when no other program writes to it",
            ));
        }
        Self::mapped(path, file, MmapOptions::new().offset(range.start as u64).len(range.len()))
    }

    fn mapped(path: &Path, file: File, options: &MmapOptions) -> Result<Self> {
        // SAFETY: the map is read-only and private to this value, and lives at least as long as every slice
        // taken from it. Another program may still shorten the file; then this process ends with SIGBUS, and
        // memory is not corrupted.
        #[allow(unsafe_code)]
        let map = unsafe { options.map(&file) }.map_err(|e| Error::file(path, e, HINT))?;
        Ok(Self::Mapped(map, file))
    }
}

impl From<Cow<'static, [u8]>> for Bytes {
    fn from(bytes: Cow<'static, [u8]>) -> Self {
        match bytes {
            Cow::Borrowed(bytes) => Self::Static(bytes),
            Cow::Owned(bytes) => Self::Owned(bytes),
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map, _) => map,
            Self::Static(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_file_is_mapped_at_any_offset() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bytes");
        let bytes: Vec<u8> = (0..10_000).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        for range in [0..1, 3..4097, 4096..8192, 9_999..10_000] {
            assert_eq!(&*Bytes::map_part(&path, &range).unwrap(), &bytes[range]);
        }
        std::fs::write(&path, &bytes[..5_000]).unwrap();
        let error = Bytes::map_part(&path, &(4_000..5_001)).unwrap_err();
        assert!(error.to_string().ends_with("has become shorter"), "{error}");
    }
}
