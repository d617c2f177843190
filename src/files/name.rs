//! Reads names that the program knows as constants: of a mistake, of a path.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Deserializer};

/// A name from a fixed list. An alias, because serde cannot derive the reading of a reference.
pub type Name = &'static str;

/// The names that were read from files so far.
static READ: Mutex<BTreeSet<Name>> = Mutex::new(BTreeSet::new());

/// Reads a name: `#[serde(deserialize_with = "name")]`. Each different name is kept for the rest of the program, which
/// is no more than the file itself takes.
///
/// # Errors
/// The value is no text.
pub fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Name, D::Error> {
    let text = String::deserialize(deserializer)?;
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(&known) = read.get(text.as_str()) {
        return Ok(known);
    }
    let name: Name = text.leak();
    read.insert(name);
    Ok(name)
}
