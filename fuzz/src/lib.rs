//! What all fuzz targets share. `tests/readers` says what each one reads; `tests/mutated.rs` reads the corpora again.

#[path = "../../tests/made/mod.rs"]
mod made;
#[path = "../../tests/readers/mod.rs"]
pub mod readers;

use std::fs;

pub use libfuzzer_sys;
use tempfile::TempDir;

/// A reader, and the folder in which it finds its file.
pub struct Target {
    reader: readers::Reader,
    folder: TempDir,
}

impl Target {
    /// Writes the files beside the one that is fuzzed.
    pub fn new(reader: readers::Reader) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        reader.prepare(folder.path());
        Self { reader, folder }
    }

    /// Reads one file.
    ///
    /// # Panics
    /// The error has no hint, or the reader panics.
    pub fn read(&self, bytes: &[u8]) {
        fs::write(self.folder.path().join(self.reader.file), bytes).expect("the folder can be written");
        if let Err(error) = (self.reader.read)(self.folder.path()) {
            assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "without a hint: {error}");
        }
    }
}

/// The fuzz target of the reader with this name.
#[macro_export]
macro_rules! target {
    ($reader:ident) => {
        thread_local! {
            static TARGET: $crate::Target = $crate::Target::new($crate::readers::$reader());
        }

        $crate::libfuzzer_sys::fuzz_target!(|bytes: &[u8]| TARGET.with(|target| target.read(bytes)));
    };
}
