//! Arrays of an `.npz` archive, read one by one under the caller's expectations, or written.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::{self, Cursor, Read, Write};

use npyz::{AutoSerialize, NpyFile, Order, WriteOptions, WriterBuilder};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use super::source::REGENERATE;
use crate::{Error, Result};

/// An open archive. Remembers which arrays were never asked for.
pub(super) struct Archive {
    zip: ZipArchive<Cursor<Cow<'static, [u8]>>>,
    unread: BTreeSet<String>,
    origin: String,
}

impl Archive {
    pub(super) fn open(bytes: Cow<'static, [u8]>, origin: String) -> Result<Self> {
        let fault = |error| Error::input(format!("{origin}: {error}"), REGENERATE);
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(fault)?;
        let mut unread = BTreeSet::new();
        for name in zip.file_names() {
            let name = name.map_err(fault)?;
            unread.insert(name.strip_suffix(".npy").unwrap_or(&name).to_owned());
        }
        Ok(Self { zip, unread, origin })
    }

    /// The names of the arrays that were not asked for yet.
    pub(super) fn unread(&self) -> Vec<String> {
        self.unread.iter().cloned().collect()
    }

    /// The float64 array `name`, which must have `shape`.
    pub(super) fn f64(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f64>> {
        self.array::<f64>(name, Some(shape))
    }

    /// The float32 array `name`, flat, widened.
    pub(super) fn f32(&mut self, name: &str) -> Result<Vec<f64>> {
        Ok(self.array::<f32>(name, None)?.into_iter().map(f64::from).collect())
    }

    /// An array that nobody asked for is a fault of the file.
    pub(super) fn all_read(&self) -> Result<()> {
        match self.unread.first() {
            None => Ok(()),
            Some(name) => Err(self.fault(format!("{name} is not in the manifest"))),
        }
    }

    fn array<T: npyz::Deserialize>(&mut self, name: &str, shape: Option<&[usize]>) -> Result<Vec<T>> {
        self.unread.remove(name);
        let origin = self.origin.clone();
        let fault = |what: String| Error::input(format!("{origin}: {what}"), REGENERATE);
        let file = self.zip.by_name(&format!("{name}.npy")).map_err(|error| match error {
            zip::result::ZipError::FileNotFound => fault(format!("{name} is missing")),
            error => fault(format!("{name}: {error}")),
        })?;
        // Sizes in headers are claims. `take` bounds what a lying one can make us read, and values
        // are collected as they come, so that memory follows content and not the claim.
        let claimed = file.size();
        let npy = NpyFile::new(file.take(claimed)).map_err(|error| fault(format!("{name}: {error}")))?;
        if npy.order() != Order::C
            || shape.is_some_and(|s| !npy.shape().iter().map(|&n| n as usize).eq(s.iter().copied()))
        {
            return Err(fault(format!("{name} has shape {:?}, the manifest says {shape:?}", npy.shape())));
        }
        let count = npy.len();
        let mut values = Vec::new();
        for value in npy.data::<T>().map_err(|error| fault(format!("{name}: {error}")))? {
            values.push(value.map_err(|error| fault(format!("{name}: {error}")))?);
        }
        if values.len() as u64 != count {
            return Err(fault(format!("{name} holds {} values and not {count}", values.len())));
        }
        Ok(values)
    }

    /// An error that names this archive.
    pub(super) fn fault(&self, what: String) -> Error {
        Error::input(format!("{}: {what}", self.origin), REGENERATE)
    }
}

/// An archive that is being written. The same files give the same bytes: it holds no time.
pub(crate) struct Writer(ZipWriter<Cursor<Vec<u8>>>);

impl Writer {
    pub(crate) fn new() -> Self {
        Self(ZipWriter::new(Cursor::new(Vec::new())))
    }

    /// An array of `shape`, as the member `NAME.npy`.
    pub(crate) fn array<T: AutoSerialize>(
        &mut self,
        name: &str,
        shape: &[usize],
        values: impl IntoIterator<Item = T>,
    ) -> io::Result<()> {
        let mut bytes = Vec::new();
        let shape: Vec<u64> = shape.iter().map(|&n| n as u64).collect();
        let options = WriteOptions::new().default_dtype().shape(&shape);
        let mut array = options.writer(&mut bytes).begin_nd()?;
        array.extend(values)?;
        array.finish()?;
        self.file(&format!("{name}.npy"), &bytes)
    }

    /// A member as it is.
    pub(crate) fn file(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let large = u32::try_from(bytes.len()).is_err();
        self.0.start_file(name, SimpleFileOptions::default().large_file(large))?;
        self.0.write_all(bytes)
    }

    pub(crate) fn finish(self) -> io::Result<Vec<u8>> {
        Ok(self.0.finish()?.into_inner())
    }
}
