//! The errors that GGUF files and safetensors share.

use std::path::Path;

use crate::{Error, Result};

/// The text of a file that belongs to a model.
pub(super) fn read_text(path: &Path) -> Result<String> {
    let hint = "a model is a .gguf file, or a directory with config.json and model.safetensors";
    std::fs::read_to_string(path).map_err(|e| Error::file(path, e, hint))
}

/// The file at `origin` has no tensor of this name.
pub(super) fn no_such_tensor(origin: &Path, name: &str) -> Error {
    Error::file(
        origin,
        format!("tensor `{name}` is missing"),
        "see which tensors there are with `rbees-check inspect`",
    )
}
