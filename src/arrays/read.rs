//! Reads the named arrays of a `.safetensors` file, an `.npz` archive, a file of `torch.save`, or a directory of `.npy`
//! files.
//!
//! At first only headers are read. Each is checked against the size of the file before anything is allocated.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::bytes::Bytes;
use super::entry::{Entry, Values, width};
use super::npz::Members;
use super::{npy, safetensors as header, torch};
use crate::{Error, Result, files};

/// Arrays by name. Their values stay in the file until they are read.
#[derive(Debug)]
pub(crate) struct Arrays {
    /// The name of the file in messages.
    origin: String,
    /// What to do about a file that cannot be used.
    hint: &'static str,
    entries: BTreeMap<String, Entry>,
    members: Option<Members>,
    /// The storage that was read last, by its index: several tensors may share one.
    storage: Mutex<Option<(usize, Arc<Vec<u8>>)>>,
    /// The metadata; all values are strings.
    pub metadata: BTreeMap<String, String>,
}

/// The extensions of files of arrays.
const KNOWN: [&str; 4] = ["safetensors", "npz", "pt", "pth"];

/// The name of the metadata file in archives and directories.
const METADATA: &str = "metadata.json";

/// The largest accepted size of metadata, in bytes; it contains only a few strings.
const LONGEST_METADATA: usize = 1 << 20;

impl Arrays {
    /// Is this a directory, or a file with a name that [`Arrays::open`] knows?
    pub(crate) fn knows(path: &Path) -> bool {
        let known = |end: &OsStr| KNOWN.iter().any(|known| end.eq_ignore_ascii_case(known));
        path.is_dir() || path.extension().is_some_and(known)
    }

    /// Opens a directory, or a file whose format follows from its name. `hint` says what to do if it cannot
    /// be used.
    ///
    /// # Errors
    /// The path is none of these formats, cannot be read, or has an inconsistent header.
    pub(crate) fn open(path: &Path, hint: &'static str) -> Result<Self> {
        let ends = |end: &str| path.extension().is_some_and(|own| own.eq_ignore_ascii_case(end));
        if path.is_dir() {
            return Self::folder(path, hint);
        }
        if !path.exists() {
            return Err(Error::file(path, "no such file", hint));
        }
        let origin = path.display().to_string();
        if ends("safetensors") {
            Self::safetensors(path, origin, hint)
        } else if ends("npz") {
            Self::npz(Bytes::map(path)?, origin, hint)
        } else if ends("pt") || ends("pth") {
            Self::torch(Bytes::map(path)?, origin, hint)
        } else {
            let hint = "give a .safetensors, .npz or .pt file, or a directory of .npy files";
            Err(Error::file(path, "its name does not end in .safetensors, .npz or .pt", hint))
        }
    }

    fn empty(origin: String, hint: &'static str) -> Self {
        Self {
            origin,
            hint,
            entries: BTreeMap::new(),
            members: None,
            storage: Mutex::default(),
            metadata: BTreeMap::new(),
        }
    }

    fn safetensors(path: &Path, origin: String, hint: &'static str) -> Result<Self> {
        let (mut this, bytes, path) = (Self::empty(origin, hint), Bytes::map(path)?, Arc::from(path));
        let (data, header) = header::header(&bytes).map_err(|e| this.fault(e))?;
        for (name, info) in header.tensors() {
            let (start, end) = info.data_offsets;
            let values = Values::Inside(Arc::clone(&path), data + start..data + end);
            this.insert(
                name,
                Entry { dtype: info.dtype, shape: info.shape.clone(), values, strided: None },
                end - start,
            )?;
        }
        this.metadata.extend(header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())));
        Ok(this)
    }

    /// Reads the arrays of an `.npz` archive; `origin` is its name in messages.
    ///
    /// # Errors
    /// It is not an archive, or has an inconsistent header.
    pub(crate) fn npz(bytes: Bytes, origin: String, hint: &'static str) -> Result<Self> {
        let mut this = Self::empty(origin, hint);
        let mut members = Members::open(bytes).map_err(|e| this.fault(e))?;
        for member in members.all().map_err(|e| this.fault(e))? {
            let name = member.name;
            if name == METADATA {
                this.set_metadata(member.size, || members.whole(member.index))?;
                continue;
            }
            let stem = this.stem(&name)?;
            let head = members.beginning(member.index, npy::LONGEST).map_err(|e| this.fault(e))?;
            let header = npy::header(&head).map_err(|why| this.fault(format!("{name}: {why}")))?;
            let held = member.size.saturating_sub(header.length);
            let values = Values::Member(member.index, header.length);
            this.insert(stem, Entry::of_npy(header, values), held)?;
        }
        Ok(Self { members: Some(members), ..this })
    }

    /// Reads the tensors of a file of `torch.save`.
    fn torch(bytes: Bytes, origin: String, hint: &'static str) -> Result<Self> {
        let mut this = Self::empty(origin, hint);
        let (members, arrays) = torch::arrays(bytes).map_err(|e| this.fault(e))?;
        for (name, dtype, shape, member, strided) in arrays {
            let held = shape.iter().product::<usize>().saturating_mul(width(dtype).unwrap_or(0));
            let values = Values::Member(member, 0);
            this.insert(name, Entry { dtype, shape, values, strided: Some(strided) }, held)?;
        }
        Ok(Self { members: Some(members), ..this })
    }

    fn folder(path: &Path, hint: &'static str) -> Result<Self> {
        let mut this = Self::empty(path.display().to_string(), hint);
        let unreadable = |e: std::io::Error| Error::file(path, e, "check its permissions");
        let mut files = Vec::new();
        for entry in std::fs::read_dir(path).map_err(unreadable)? {
            files.push(entry.map_err(unreadable)?.path());
        }
        files.sort();
        for file in files {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            let bytes = Bytes::map(&file)?;
            if name == METADATA {
                this.set_metadata(bytes.len(), || Ok(bytes.to_vec()))?;
                continue;
            }
            let stem = this.stem(&name)?;
            let header = npy::header(&bytes).map_err(|why| this.fault(format!("{name}: {why}")))?;
            let held = bytes.len() - header.length;
            let values = Values::Inside(Arc::from(file), header.length..header.length + held);
            this.insert(stem, Entry::of_npy(header, values), held)?;
        }
        Ok(this)
    }

    /// The name of the array in the file `name`.
    fn stem(&self, name: &str) -> Result<String> {
        let stem = name.strip_suffix(".npy").map(str::to_owned);
        stem.ok_or_else(|| self.fault(format!("{name} is not an array: its name does not end in .npy")))
    }

    /// Adds an array of `held` bytes, if its header gives the same size.
    fn insert(&mut self, name: String, entry: Entry, held: usize) -> Result<()> {
        let count = entry.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let Some(width) = width(entry.dtype) else {
            let hint = "write floats as f64, f32, f16 or bf16, and ids as i64, i32 or u32";
            let what = format!("{}: {name} has the unsupported type {:?}", self.origin, entry.dtype);
            return Err(Error::input(what, hint));
        };
        if count == Some(0) {
            return Err(self.fault(format!("{name} is empty: {:?}", entry.shape)));
        }
        if count.and_then(|n| n.checked_mul(width)) != Some(held) {
            let Entry { shape, dtype, .. } = &entry;
            return Err(
                self.fault(format!("{name} has {held} bytes, but its header says {shape:?} of {dtype:?}"))
            );
        }
        match self.entries.insert(name.clone(), entry) {
            Some(_) => Err(self.fault(format!("{name} occurs twice"))),
            None => Ok(()),
        }
    }

    fn set_metadata(&mut self, size: usize, text: impl FnOnce() -> Result<Vec<u8>, String>) -> Result<()> {
        if size > LONGEST_METADATA {
            return Err(
                self.fault(format!("{METADATA} has {size} bytes; at most {LONGEST_METADATA} are allowed"))
            );
        }
        let text = text().map_err(|e| self.fault(format!("{METADATA}: {e}")))?;
        let read = files::json(&text);
        self.metadata = read.map_err(|e| self.fault(format!("{METADATA}: {e}")))?;
        Ok(())
    }

    /// Every array with its header.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// The header of the array `name`.
    pub(crate) fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// The values of `entry`, little-endian: exactly the number of bytes that follows from its shape and
    /// type.
    ///
    /// # Errors
    /// A compressed member is damaged, or has another size than stated; the file has become shorter.
    pub(crate) fn values(&self, entry: &Entry) -> Result<Bytes> {
        let width = width(entry.dtype).unwrap_or(1);
        match (&entry.values, &entry.strided) {
            (Values::Inside(path, range), None) => Bytes::map_part(path, range),
            (Values::Inside(path, range), Some(strided)) => {
                Ok(Bytes::Owned(strided.gather(&Bytes::map_part(path, range)?, &entry.shape, width)))
            }
            (&Values::Member(index, header), None) => {
                let mut bytes = self.member(index)?;
                bytes.drain(..header);
                Ok(Bytes::Owned(bytes))
            }
            (&Values::Member(index, header), Some(strided)) => {
                let bytes = self.shared(index)?;
                let values = bytes.get(header..).unwrap_or_default();
                Ok(Bytes::Owned(strided.gather(values, &entry.shape, width)))
            }
        }
    }

    fn member(&self, index: usize) -> Result<Vec<u8>> {
        let members = self.members.as_ref().ok_or_else(|| self.fault("it is not an archive"))?;
        members.whole(index).map_err(|e| self.fault(e))
    }

    /// A member that several arrays may share.
    fn shared(&self, index: usize) -> Result<Arc<Vec<u8>>> {
        let mut last = self.storage.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, bytes)) = last.as_ref().filter(|(of, _)| *of == index) {
            return Ok(Arc::clone(bytes));
        }
        let bytes = Arc::new(self.member(index)?);
        *last = Some((index, Arc::clone(&bytes)));
        Ok(bytes)
    }

    /// The name of the file in messages.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// An error that names this file.
    pub(crate) fn fault(&self, what: impl std::fmt::Display) -> Error {
        Error::input(format!("{}: {what}", self.origin), self.hint)
    }
}
