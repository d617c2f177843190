//! The named arrays of a dump: a `.safetensors` file, an `.npz` archive, or a directory of `.npy` files.
//!
//! Only headers are read at first. A header is a claim: what it says is held against the size of the file
//! before anything is allocated.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::tensor::SafeTensors;
use zip::ZipArchive;

use super::npy;
use crate::weights::{Bytes, ends_are_inside};
use crate::{Error, Result};

/// What to do about a dump that cannot be read.
pub(super) const AGAIN: &str = "record it again; docs/dump-format.md says what a dump holds";

/// An open dump.
#[derive(Debug)]
pub(super) struct Arrays {
    origin: PathBuf,
    entries: BTreeMap<String, Entry>,
    archive: Option<ZipArchive<Cursor<Shared>>>,
    /// Its metadata, all texts.
    pub metadata: BTreeMap<String, String>,
}

/// One array: what its header says, and where its values lie.
#[derive(Debug)]
pub(super) struct Entry {
    /// `F32`, `BF16`, `I64`: as safetensors names them.
    pub dtype: String,
    /// Its dimensions, none of them 0.
    pub shape: Vec<usize>,
    values: Values,
}

#[derive(Debug)]
enum Values {
    /// Inside a mapped file.
    Mapped(Arc<Bytes>, Range<usize>),
    /// Behind so many bytes of header in a member of the archive.
    Member(usize, usize),
}

/// A mapped file that several readers look at.
#[derive(Clone, Debug)]
struct Shared(Arc<Bytes>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// No deflate stream holds more than this for each of its bytes.
const DEFLATE: u64 = 1032;
/// More than any header of an honest `.npy` file.
const HEADER: u64 = 1 << 16;

impl Arrays {
    /// Opens what `path` is, by its kind and its name.
    ///
    /// # Errors
    /// It is none of the three, cannot be read, or says of itself what cannot be.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let ends = |end: &str| path.extension().is_some_and(|own| own.eq_ignore_ascii_case(end));
        let empty = Self {
            origin: path.to_owned(),
            entries: BTreeMap::new(),
            archive: None,
            metadata: BTreeMap::new(),
        };
        if path.is_dir() {
            empty.folder()
        } else if !path.exists() {
            Err(Error::file(path, "no such file", "give what a recorder wrote: RBEES_DUMP says where"))
        } else if ends("safetensors") {
            empty.safetensors()
        } else if ends("npz") {
            empty.npz()
        } else {
            let hint = "a dump is a .safetensors file, an .npz file, or a directory of .npy files";
            Err(Error::file(path, "not a dump by its name", hint))
        }
    }

    fn safetensors(mut self) -> Result<Self> {
        let bytes = Arc::new(self.map(&self.origin)?);
        if !ends_are_inside(&bytes) {
            return Err(self.fault("a tensor ends past the end of the file: it is cut off, or damaged"));
        }
        let (length, header) = SafeTensors::read_metadata(&bytes).map_err(|e| self.fault(e))?;
        for (name, info) in header.tensors() {
            let (start, end) = info.data_offsets;
            let values = Values::Mapped(bytes.clone(), 8 + length + start..8 + length + end);
            let entry = Entry { dtype: format!("{:?}", info.dtype), shape: info.shape.clone(), values };
            self.insert(name, entry, end - start)?;
        }
        self.metadata.extend(header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())));
        Ok(self)
    }

    fn npz(mut self) -> Result<Self> {
        let bytes = Shared(Arc::new(self.map(&self.origin)?));
        let size = bytes.0.len() as u64;
        let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|e| self.fault(e))?;
        if archive.has_duplicate_names() {
            return Err(self.fault("a name is there twice"));
        }
        for index in 0..archive.len() {
            let mut member = archive.by_index(index).map_err(|e| self.fault(e))?;
            let name = member.name().map_err(|e| self.fault(e))?.into_owned();
            if member.compressed_size() > size
                || member.size() > member.compressed_size().saturating_mul(DEFLATE)
            {
                return Err(self.fault(format!("{name} claims more than the file can hold")));
            }
            if name == METADATA {
                let mut text = Vec::new();
                member.take(HEADER).read_to_end(&mut text).map_err(|e| self.fault(e))?;
                self.set_metadata(&text)?;
                continue;
            }
            let Some(stem) = name.strip_suffix(".npy") else {
                return Err(self.fault(format!("{name} is no array")));
            };
            let mut head = Vec::new();
            let claimed = member.size();
            (&mut member).take(HEADER).read_to_end(&mut head).map_err(|e| self.fault(e))?;
            let header = npy::header(&head).map_err(|why| self.fault(format!("{name}: {why}")))?;
            let held = usize::try_from(claimed).unwrap_or(0).saturating_sub(header.length);
            let values = Values::Member(index, header.length);
            self.insert(stem.into(), Entry { dtype: header.dtype, shape: header.shape, values }, held)?;
        }
        self.archive = Some(archive);
        Ok(self)
    }

    fn folder(mut self) -> Result<Self> {
        let unreadable = |e: std::io::Error| Error::file(&self.origin, e, "check its permissions");
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.origin).map_err(unreadable)? {
            files.push(entry.map_err(unreadable)?.path());
        }
        files.sort();
        for file in files {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            let bytes = self.map(&file)?;
            if name == METADATA {
                self.set_metadata(&bytes)?;
                continue;
            }
            let Some(stem) = name.strip_suffix(".npy") else {
                return Err(self.fault(format!("{name} is no array")));
            };
            let head = &bytes[..bytes.len().min(HEADER as usize)];
            let header = npy::header(head).map_err(|why| self.fault(format!("{name}: {why}")))?;
            let held = bytes.len() - header.length;
            let values = Values::Mapped(Arc::new(bytes), header.length..header.length + held);
            self.insert(stem.into(), Entry { dtype: header.dtype, shape: header.shape, values }, held)?;
        }
        Ok(self)
    }

    /// Takes an array of `held` bytes, if that is what its header promises.
    fn insert(&mut self, name: String, entry: Entry, held: usize) -> Result<()> {
        let count = entry.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let Some(width) = width(&entry.dtype) else {
            let hint = "floats are f64, f32, f16 or bf16; ids are i64, i32 or u32";
            return Err(Error::file(&self.origin, format!("{name} is of type {}", entry.dtype), hint));
        };
        if count == Some(0) {
            return Err(self.fault(format!("{name} is empty: {:?}", entry.shape)));
        }
        if count.and_then(|n| n.checked_mul(width)) != Some(held) {
            let Entry { shape, dtype, .. } = &entry;
            return Err(
                self.fault(format!("{name} is said to be {shape:?} of {dtype}, and holds {held} bytes"))
            );
        }
        match self.entries.insert(name.clone(), entry) {
            Some(_) => Err(self.fault(format!("{name} is there twice"))),
            None => Ok(()),
        }
    }

    fn set_metadata(&mut self, text: &[u8]) -> Result<()> {
        let read = serde_json::from_slice(text);
        self.metadata = read.map_err(|e| self.fault(format!("{METADATA}: {e}")))?;
        Ok(())
    }

    fn map(&self, file: &Path) -> Result<Bytes> {
        match std::fs::metadata(file) {
            Ok(facts) if facts.is_file() && facts.len() == 0 => Err(Error::file(file, "is empty", AGAIN)),
            Ok(facts) if !facts.is_file() => Err(Error::file(file, "is not a regular file", AGAIN)),
            _ => Bytes::map(file),
        }
    }

    /// Every array and what its header says.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// The values of `entry`, little-endian, as many bytes as its shape and type make.
    ///
    /// # Errors
    /// A compressed member that is damaged, or holds more or less than it claims.
    pub(super) fn values<'a>(&'a self, entry: &'a Entry) -> Result<Cow<'a, [u8]>> {
        let (index, header) = match &entry.values {
            Values::Mapped(bytes, range) => return Ok(Cow::Borrowed(&bytes[range.clone()])),
            &Values::Member(index, header) => (index, header),
        };
        let mut archive = self.archive.clone().ok_or_else(|| self.fault("no archive"))?;
        let member = archive.by_index(index).map_err(|e| self.fault(e))?;
        let claimed = member.size();
        let mut bytes = Vec::new();
        // It grows with what comes, and never past what is claimed.
        member.take(claimed).read_to_end(&mut bytes).map_err(|e| self.fault(e))?;
        if bytes.len() as u64 != claimed {
            return Err(self.fault("a member holds less than it claims"));
        }
        bytes.drain(..header);
        Ok(Cow::Owned(bytes))
    }

    /// An error that names this dump.
    pub(super) fn fault(&self, what: impl std::fmt::Display) -> Error {
        Error::file(&self.origin, what, AGAIN)
    }
}

/// Where metadata stands in archives and directories.
const METADATA: &str = "metadata.json";

/// Bytes of one number.
fn width(dtype: &str) -> Option<usize> {
    match dtype {
        "F64" | "I64" => Some(8),
        "F32" | "I32" | "U32" => Some(4),
        "F16" | "BF16" => Some(2),
        "U8" | "BOOL" => Some(1),
        _ => None,
    }
}
