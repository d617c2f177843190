//! Hashes of files and of tensors, which identify weights.

use std::path::Path;

use candle_core::{DType, Tensor};
use sha2::{Digest, Sha256};

use super::{Source, Weights};
use crate::Result;

impl Weights {
    /// SHA-256 of every file that defines the model, as file name and lower-case hex digits: the
    /// configuration (for safetensors), then the tensors. Reads the files completely.
    pub fn files_sha256(&self) -> Vec<(String, String)> {
        let named = |path: &Path, bytes: &[u8]| {
            let name = path.file_name().unwrap_or(path.as_os_str());
            (name.to_string_lossy().into_owned(), hex(Sha256::digest(bytes)))
        };
        match &*self.source {
            Source::Gguf(file) => file.files().map(|(path, bytes)| named(path, bytes)).collect(),
            Source::Shards(shards) => {
                let texts = self.texts.iter().map(|(name, text)| named(Path::new(name), text.as_bytes()));
                texts.chain(shards.files().map(|(path, bytes)| named(path, bytes))).collect()
            }
        }
    }

    /// A hash that identifies these weights: the file's hash for one GGUF file; otherwise, or with replaced tensors,
    /// the hash of the lines `HASH  NAME` (as printed by `sha256sum`) of all files and replaced tensors. A
    /// configuration set with `set_config` is not included.
    ///
    /// # Errors
    /// When a replaced tensor cannot be copied to the CPU.
    pub fn sha256(&self) -> Result<String> {
        let mut parts = self.files_sha256();
        if let ([(_, only)], true) = (parts.as_slice(), self.replaced.is_empty()) {
            return Ok(only.clone());
        }
        for name in self.replaced.keys() {
            parts.push((name.clone(), sha256_of(&self.canonical(name)?)?));
        }
        let lines: String = parts.iter().map(|(name, hash)| format!("{hash}  {name}\n")).collect();
        Ok(hex(Sha256::digest(lines)))
    }
}

/// SHA-256 of a tensor's little-endian f32 bytes in row-major order, as lower-case hex digits.
///
/// # Errors
/// When the tensor cannot be copied to the CPU.
pub fn sha256_of(tensor: &Tensor) -> Result<String> {
    let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    let mut hash = Sha256::new();
    for chunk in values.chunks(1 << 14) {
        let bytes: Vec<u8> = chunk.iter().flat_map(|value| value.to_le_bytes()).collect();
        hash.update(bytes);
    }
    Ok(hex(hash.finalize()))
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
