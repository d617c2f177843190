//! The bytes of a file, mapped and not read: an array costs memory only once it is asked for.

use std::borrow::Cow;
use std::ops::Deref;
use std::path::Path;

use crate::{Error, Result, files};

const HINT: &str = "check the path and its permissions";

/// Bytes that stay where they are.
#[derive(Debug)]
pub(crate) enum Bytes {
    /// A file, mapped read-only. Starts on a page boundary.
    Mapped(memmap2::Mmap),
    /// Bytes of the program itself. Aligned to nothing in particular.
    Static(&'static [u8]),
    /// A file that was read.
    Owned(Vec<u8>),
}

impl Bytes {
    /// Maps a whole regular file.
    ///
    /// # Errors
    /// When it cannot be opened or mapped, is not a regular file, or is empty.
    pub(crate) fn map(path: &Path) -> Result<Self> {
        let (file, length) = files::open(path, HINT)?;
        if length == 0 {
            return Err(Error::file(path, "is empty", "fetch or write the file again"));
        }
        // SAFETY: the map is read-only and private to this value, and lives as long as every slice
        // taken from it. What no program can rule out is that another one shortens the file
        // meanwhile: that ends this process with SIGBUS, it does not corrupt memory.
        #[allow(unsafe_code)]
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| Error::file(path, e, HINT))?;
        Ok(Self::Mapped(map))
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
            Self::Mapped(map) => map,
            Self::Static(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}
