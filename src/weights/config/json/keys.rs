//! Reads values of one JSON object by their keys. Every error names the key and its value.

use serde_json::{Map, Value};

use super::super::value::{finite, shown, token, whole};
use crate::{Error, Result};

/// An object of `config.json` or `generation_config.json`.
#[derive(Clone)]
pub(super) struct Object<'a> {
    pub(super) entries: &'a Map<String, Value>,
    /// The file, for messages.
    origin: &'a str,
    /// The keys that lead to this object from the top of the file, each with a dot after it.
    path: String,
}

impl<'a> Object<'a> {
    pub(super) fn new(entries: &'a Map<String, Value>, origin: &'a str) -> Self {
        Self { entries, origin, path: String::new() }
    }

    /// The same place with other entries.
    pub(super) fn with<'b>(&'b self, entries: &'b Map<String, Value>) -> Object<'b> {
        Object { entries, origin: self.origin, path: self.path.clone() }
    }

    /// The object at `key`, whose entries are `entries`.
    pub(super) fn inner(&self, key: &str, entries: &'a Map<String, Value>) -> Self {
        Self { entries, origin: self.origin, path: format!("{}.", self.full(key)) }
    }

    /// The keys that lead to `key` from the top of the file.
    pub(super) fn full(&self, key: &str) -> String {
        format!("{}{key}", self.path)
    }

    /// The keys that lead to this object; empty at the top of the file.
    pub(super) fn name(&self) -> &str {
        self.path.trim_end_matches('.')
    }

    /// A whole number. `None` if the key is absent or null.
    pub(super) fn size(&self, key: &str) -> Result<Option<usize>> {
        self.read(key, "a whole number is needed", whole)
    }

    /// A whole number that the model cannot do without.
    pub(super) fn needed_size(&self, key: &str) -> Result<usize> {
        self.size(key)?.ok_or_else(|| self.absent(key, "a whole number is needed"))
    }

    /// A finite number. `None` if the key is absent or null.
    pub(super) fn number(&self, key: &str) -> Result<Option<f64>> {
        self.read(key, "a finite number is needed", finite)
    }

    /// A finite number that the model cannot do without.
    pub(super) fn needed_number(&self, key: &str) -> Result<f64> {
        self.number(key)?.ok_or_else(|| self.absent(key, "a finite number is needed"))
    }

    /// A truth value. `None` if the key is absent or null.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>> {
        self.read(key, "true or false is needed", Value::as_bool)
    }

    /// A token's id, or `default` if the key is absent. Null and -1 mean that there is no such token.
    pub(super) fn token(&self, key: &str, default: Option<u32>) -> Result<Option<u32>> {
        self.entries.get(key).map_or(Ok(default), |value| {
            token(value).ok_or_else(|| self.wrong(key, "a token id, or null for none, is needed"))
        })
    }

    /// One token's id or a list of them, or `default` if the key is absent.
    pub(super) fn tokens(&self, key: &str, default: Option<u32>) -> Result<Vec<u32>> {
        let Some(Value::Array(list)) = self.entries.get(key) else {
            return Ok(self.token(key, default)?.into_iter().collect());
        };
        let ids: Option<Vec<Option<u32>>> = list.iter().map(token).collect();
        let ids = ids.ok_or_else(|| self.wrong(key, "a list of token ids is needed"))?;
        Ok(ids.into_iter().flatten().collect())
    }

    fn read<T>(&self, key: &str, need: &str, read: impl FnOnce(&Value) -> Option<T>) -> Result<Option<T>> {
        match self.entries.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| self.wrong(key, need)),
        }
    }

    fn absent(&self, key: &str, need: &str) -> Error {
        if self.entries.contains_key(key) { self.wrong(key, need) } else { self.missing(key) }
    }

    fn missing(&self, key: &str) -> Error {
        let what = format!("{} is missing", self.full(key));
        Error::file(self.origin, what, "every Llama has it: fetch the model's own config.json again")
    }

    /// The error that the value of `key` cannot be used.
    pub(super) fn wrong(&self, key: &str, why: &str) -> Error {
        let value = self.entries.get(key).map_or_else(|| "missing".into(), shown);
        let what = format!("{} is {value}: {why}", self.full(key));
        Error::file(self.origin, what, "correct the value of this key")
    }

    /// The error that the value of `key` changes what the model computes, in a way that is not supported.
    pub(super) fn unsupported(&self, key: &str) -> Error {
        let value = self.entries.get(key).map_or_else(|| "missing".into(), shown);
        let hint = "this setting changes what the model computes, and is not supported yet";
        Error::file(self.origin, format!("{} {value} is not supported", self.full(key)), hint)
    }

    /// An error about more than one key.
    pub(super) fn refuse(&self, what: String, hint: &str) -> Error {
        Error::file(self.origin, what, hint)
    }
}
