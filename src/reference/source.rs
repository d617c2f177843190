//! Where fixture files are: in a folder, or compiled into the binary.

use std::borrow::Cow;
use std::path::PathBuf;

use serde::de::DeserializeOwned;

use crate::arrays::{Arrays, Bytes};
use crate::{Error, Result, files};

/// The largest fixture file that is read, in bytes; a reference for thousands of tokens is smaller.
const LIMIT: u64 = 8 << 30;

/// A folder of fixture files.
#[derive(Clone, Debug)]
pub enum Source {
    /// On disk.
    Folder(PathBuf),
    /// Compiled in, under the model's name: pairs of a path below the folder and the content.
    Embedded(&'static str, &'static [(&'static str, &'static [u8])]),
}

impl Source {
    /// The file at `path` below this folder; `None` if it does not exist.
    pub fn read(&self, path: &str) -> Result<Option<Cow<'static, [u8]>>> {
        match self {
            Self::Folder(folder) => {
                let read = files::read_if_there(&folder.join(path), LIMIT, "check that the file can be read");
                Ok(read?.map(Into::into))
            }
            Self::Embedded(_, files) => {
                Ok(files.iter().find(|(name, _)| *name == path).map(|&(_, bytes)| bytes.into()))
            }
        }
    }

    /// The file at `path`, which must exist.
    pub fn demand(&self, path: &str) -> Result<Cow<'static, [u8]>> {
        self.read(path)?.ok_or_else(|| Error::input(format!("{}: missing", self.name_of(path)), REGENERATE))
    }

    /// The JSON file at `path`, which must exist.
    pub fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.parse(path, &self.demand(path)?)
    }

    /// Parses `bytes`, the content of the file at `path`, as JSON.
    pub(super) fn parse<T: DeserializeOwned>(&self, path: &str, bytes: &[u8]) -> Result<T> {
        files::json(bytes)
            .map_err(|error| Error::input(format!("{}: {error}", self.name_of(path)), REGENERATE))
    }

    /// The `.npz` archive at `path`, which must exist.
    pub(crate) fn arrays(&self, path: &str) -> Result<Arrays> {
        Arrays::npz(Bytes::from(self.demand(path)?), self.name_of(path), REGENERATE)
    }

    /// The folders directly below this one that contain a `manifest.json`, in alphabetical order.
    pub fn cases(&self) -> Result<Vec<String>> {
        let mut cases = match self {
            Self::Folder(folder) => std::fs::read_dir(folder)
                .map_err(|error| Error::file(folder, error, REGENERATE))?
                .flatten()
                .filter(|entry| entry.path().join("manifest.json").is_file())
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect(),
            Self::Embedded(_, files) => files
                .iter()
                .filter_map(|(name, _)| name.strip_suffix("/manifest.json"))
                .map(str::to_owned)
                .collect::<Vec<_>>(),
        };
        cases.sort();
        Ok(cases)
    }

    /// The full name of the file or folder at `path`, for messages.
    pub fn name_of(&self, path: &str) -> String {
        match self {
            Self::Folder(folder) => folder.join(path).display().to_string(),
            Self::Embedded(model, _) => format!("{model}/{path} (built in)"),
        }
    }
}

/// The hint for a broken fixture.
pub(super) const REGENERATE: &str =
    "regenerate it with scripts/capture_reference.py, or restore it from version control";
