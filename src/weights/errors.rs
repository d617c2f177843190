//! The errors that GGUF files and safetensors share.

use std::path::Path;

use crate::Error;

/// The hint for a model file that is missing or cannot be read.
pub(super) const WHAT_A_MODEL_IS: &str =
    "give a .gguf file, or a directory with config.json and model.safetensors";

/// The file at `origin` has no tensor of this name.
pub(super) fn no_such_tensor(origin: &Path, name: &str) -> Error {
    Error::file(origin, format!("tensor `{name}` is missing"), "list the tensors with `rbees-check inspect`")
}
