//! Reads metadata values of a GGUF file by their keys. Every error names the key and its value.

use serde_json::Value;

use super::super::super::gguf::Gguf;
use super::super::family::Family;
use super::super::layers::MOST_LAYERS;
use super::super::value::{finite, shown, token, whole};
use crate::{Error, Result};

/// The longest array that is read where one number belongs: one value for each layer.
const MAX_LAYERS: u64 = MOST_LAYERS as u64;

/// The metadata of a GGUF file.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a> {
    pub(super) file: &'a Gguf,
    pub(super) family: Family,
}

impl Keys<'_> {
    /// The full name of a key that belongs to the architecture: `llama.block_count` for `block_count`.
    pub(super) fn own(self, key: &str) -> String {
        format!("{}.{key}", self.family.architecture())
    }

    /// A whole number. `None` if the key is absent.
    pub(super) fn size(self, key: &str) -> Result<Option<usize>> {
        self.read(key, "a whole number is needed", whole)
    }

    /// A whole number that the model cannot do without.
    pub(super) fn needed_size(self, key: &str) -> Result<usize> {
        self.size(key)?.ok_or_else(|| self.missing(key))
    }

    /// A finite number. `None` if the key is absent.
    pub(super) fn number(self, key: &str) -> Result<Option<f64>> {
        self.read(key, "a finite number is needed", finite)
    }

    /// A text. `None` if the key is absent.
    pub(super) fn text(self, key: &str) -> Result<Option<String>> {
        self.read(key, "a text is needed", |value| value.as_str().map(str::to_owned))
    }

    /// A token's id. `None` if the key is absent, or says that there is no such token.
    pub(super) fn token(self, key: &str) -> Result<Option<u32>> {
        Ok(self.read(key, "a token id is needed", token)?.flatten())
    }

    /// The single value of `key`. An array with the same value for every layer is such a value too.
    ///
    /// # Errors
    /// It is an array of different values, or a very long one.
    pub(super) fn value(self, key: &str) -> Result<Option<Value>> {
        if let Some(length) = self.file.metadata_len(key).filter(|length| *length > MAX_LAYERS) {
            let what = format!("metadata `{key}` is an array of {length} values: a single one is needed");
            return Err(Error::file(self.file.path(), what, HINT));
        }
        match self.file.metadata(key) {
            Some(Value::Array(values)) => match values.split_first() {
                Some((first, rest)) if rest.iter().all(|other| other == first) => Ok(Some(first.clone())),
                Some(_) => Err(self.wrong(key, "layers with different values are not supported yet")),
                None => Err(self.wrong(key, "a single value is needed")),
            },
            other => Ok(other),
        }
    }

    fn read<T>(self, key: &str, need: &str, read: impl FnOnce(&Value) -> Option<T>) -> Result<Option<T>> {
        match self.value(key)? {
            None => Ok(None),
            Some(value) => read(&value).map(Some).ok_or_else(|| self.wrong(key, need)),
        }
    }

    /// The error that `key` is missing.
    pub(super) fn missing(self, key: &str) -> Error {
        let what = format!("metadata `{key}` is missing");
        Error::file(self.file.path(), what, "convert the model again with llama.cpp")
    }

    /// The error that the value of `key` cannot be used. Must not be called for a very long array.
    pub(super) fn wrong(self, key: &str, why: &str) -> Error {
        let value = self.file.metadata(key).map_or_else(|| "missing".into(), |value| shown(&value));
        Error::file(self.file.path(), format!("metadata `{key}` is {value}: {why}"), HINT)
    }
}

const HINT: &str = "use a plain model converted with llama.cpp";
