//! Writes an `.npz` archive.

use std::io::{self, Cursor, Write};

use npyz::{AutoSerialize, WriteOptions, WriterBuilder};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// An archive that is being written. It contains no timestamps, so the same files give the same bytes.
pub(crate) struct Npz(ZipWriter<Cursor<Vec<u8>>>);

impl Npz {
    pub(crate) fn new() -> Self {
        Self(ZipWriter::new(Cursor::new(Vec::new())))
    }

    /// Adds an array of `shape` as the member `NAME.npy`.
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

    /// Adds a member with these bytes.
    pub(crate) fn file(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let large = u32::try_from(bytes.len()).is_err();
        self.0.start_file(name, SimpleFileOptions::default().large_file(large))?;
        self.0.write_all(bytes)
    }

    pub(crate) fn finish(self) -> io::Result<Vec<u8>> {
        Ok(self.0.finish()?.into_inner())
    }
}
