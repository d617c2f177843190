//! GGUF files: metadata, and tensors as llama.cpp's converter writes them.
//!
//! In these files the rows of q and k are permuted (a rotation pairs neighbouring elements, 2i and 2i + 1),
//! and names and dimension order are llama.cpp's own. This module converts names to Hugging Face's and lists
//! dimensions rows first.

mod cursor;
mod header;
mod names;
mod split;
mod value;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QTensor, ggml_file};
use candle_core::{DType, Device, Tensor};
use serde_json::Value as Json;

use self::cursor::Problem;
use self::header::{Header, TensorInfo};
use super::errors::no_such_tensor;
use crate::arrays::Bytes;
use crate::files::short_name;
use crate::{Error, Result};

/// An opened GGUF file, or all parts of one that was split. Also opens files without tensors (vocabularies).
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    /// The file, or its parts in order.
    parts: Vec<(PathBuf, Bytes)>,
    /// The metadata of the first part.
    metadata: BTreeMap<String, value::Value>,
    tensors: BTreeMap<String, Placed>,
}

/// A tensor, and the index of the part that contains it.
#[derive(Debug)]
struct Placed {
    part: usize,
    info: TensorInfo,
}

impl Gguf {
    /// Maps the file and reads its header; tensor data stays on disk. Of a split file, any part may be given.
    ///
    /// # Errors
    /// When the file is not GGUF version 1, 2 or 3, its header contradicts itself or the file's size, a tensor
    /// has a type that Candle cannot read, or a part is missing or belongs to another file.
    pub fn open(path: &Path) -> Result<Self> {
        let (bytes, header) = read(path)?;
        let count = split::count(&header, &bytes).map_err(|why| refused(path, why))?;
        let mut all = vec![(path.to_owned(), bytes, header)];
        if count > 1 {
            all.clear();
            for (index, part) in
                split::paths(path, count).map_err(|why| refused(path, why))?.into_iter().enumerate()
            {
                let (bytes, header) =
                    read(&part).map_err(|error| missing_part(error, &part, index, count))?;
                split::check(&header, &bytes, index, count).map_err(|why| refused(&part, why))?;
                all.push((part, bytes, header));
            }
        }
        let (first, bytes, header) = &all[0];
        let found = all.iter().map(|(_, _, header)| header.tensors.len()).sum();
        split::check_tensors(header, bytes, found).map_err(|why| refused(first, why))?;
        let metadata = header.metadata.clone();
        // An array in its place is refused when the config is read.
        let architecture = metadata.get("general.architecture").filter(|name| name.count().is_none());
        let architecture = architecture.map(|name| name.to_json(bytes));
        let architecture = architecture.as_ref().and_then(Json::as_str).unwrap_or_default().to_owned();
        let (mut parts, mut tensors) = (Vec::new(), BTreeMap::new());
        for (part, (path, bytes, header)) in all.into_iter().enumerate() {
            for (gguf, info) in header.tensors {
                let name = names::hugging_face(&gguf, &architecture).unwrap_or(gguf);
                if tensors.insert(name.clone(), Placed { part, info }).is_some() {
                    let what = format!("two tensors are named `{}`", short_name(&name));
                    return Err(refused(&path, Problem::damaged(what)));
                }
            }
            parts.push((path, bytes));
        }
        Ok(Self { path: path.to_owned(), parts, metadata, tensors })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A metadata value as JSON, decoded on request. f32 values keep their exact value: 1e-5 in the file is
    /// 9.999999747378752e-6 here.
    pub fn metadata(&self, key: &str) -> Option<Json> {
        self.metadata.get(key).map(|value| value.to_json(&self.parts[0].1))
    }

    /// The number of elements of an array in the metadata, without decoding it.
    pub fn metadata_len(&self, key: &str) -> Option<u64> {
        self.metadata.get(key).and_then(value::Value::count)
    }

    /// All metadata keys, sorted.
    pub fn metadata_keys(&self) -> impl Iterator<Item = &str> {
        self.metadata.keys().map(String::as_str)
    }

    /// The names of all tensors, sorted: Hugging Face names for tensors of a Llama, the file's own names for
    /// all others.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The shape of a tensor, `[out, in]` for a matrix.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|placed| placed.info.shape.as_slice())
    }

    /// The type in which a tensor is stored.
    pub fn dtype(&self, name: &str) -> Option<GgmlDType> {
        self.tensors.get(name).map(|placed| placed.info.dtype)
    }

    /// How a tensor is stored: its type, and its number of bytes in the file.
    pub(super) fn stored(&self, name: &str) -> Option<(GgmlDType, usize)> {
        self.tensors.get(name).map(|placed| (placed.info.dtype, placed.info.bytes.len()))
    }

    /// The file, or its parts in order, with their content.
    pub(super) fn files(&self) -> impl Iterator<Item = (&Path, &[u8])> {
        self.parts.iter().map(|(path, bytes)| (path.as_path(), &**bytes))
    }

    /// A tensor in its stored blocks, copied to the device.
    ///
    /// # Errors
    /// When there is no such tensor, or the device has no memory for it.
    pub fn quantized(&self, name: &str, device: &Device) -> Result<Arc<QTensor>> {
        let (entry, raw) = self.alone(name)?;
        // `raw` is aligned for every block type: a map starts on a page, and tensors on multiples of 8.
        let tensor = ggml_file::qtensor_from_ggml(entry.dtype, &raw, entry.shape.clone(), device)?;
        Ok(Arc::new(tensor))
    }

    /// A tensor on the CPU, rows as stored: half types unchanged, blocks dequantised to f32.
    ///
    /// # Errors
    /// When there is no such tensor.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let (entry, raw) = self.alone(name)?;
        let plain = match entry.dtype {
            GgmlDType::F32 => DType::F32,
            GgmlDType::F16 => DType::F16,
            GgmlDType::BF16 => DType::BF16,
            _ => return Ok(self.quantized(name, &Device::Cpu)?.dequantize(&Device::Cpu)?),
        };
        Ok(Tensor::from_raw_buffer(&raw, plain, &entry.shape, &Device::Cpu)?)
    }

    /// Rows `ids` of a matrix on the CPU, as stored, `[ids, in]`. Each row is a whole number of blocks.
    ///
    /// # Errors
    /// When there is no such tensor.
    pub fn rows(&self, name: &str, ids: &[u32]) -> Result<Tensor> {
        let (entry, raw) = self.entry(name)?;
        let rows = entry.shape.first().copied().unwrap_or(1).max(1);
        let (width, stride) = (entry.shape.iter().skip(1).product::<usize>(), raw.len() / rows);
        let plain = match entry.dtype {
            GgmlDType::F32 => Some(DType::F32),
            GgmlDType::F16 => Some(DType::F16),
            GgmlDType::BF16 => Some(DType::BF16),
            _ => None,
        };
        // Consecutive rows at once. A row starts where a block starts, so it is aligned like a block.
        let runs = ids.chunk_by(|&a, &b| a.checked_add(1) == Some(b)).map(|run| {
            let (first, shape) = (run[0] as usize * stride, vec![run.len(), width]);
            let bytes = raw.get(first..first + run.len() * stride);
            let bytes = bytes.ok_or_else(|| no_such_tensor(&self.path, name))?;
            Ok(match plain {
                Some(dtype) => Tensor::from_raw_buffer(bytes, dtype, &shape, &Device::Cpu)?,
                None => {
                    let blocks = ggml_file::qtensor_from_ggml(entry.dtype, bytes, shape, &Device::Cpu)?;
                    blocks.dequantize(&Device::Cpu)?
                }
            })
        });
        Ok(Tensor::cat(&runs.collect::<Result<Vec<_>>>()?, 0)?)
    }

    /// A tensor's bytes in a map of their own: the pages that are read leave the memory with it, so that a loaded model
    /// is not in memory twice.
    fn alone(&self, name: &str) -> Result<(&TensorInfo, Bytes)> {
        let (info, _) = self.entry(name)?;
        let (path, bytes) = &self.parts[self.tensors.get(name).map_or(0, |placed| placed.part)];
        Ok((info, bytes.apart(path, &info.bytes)?))
    }

    fn entry(&self, name: &str) -> Result<(&TensorInfo, &[u8])> {
        let Placed { part, info } = self.tensors.get(name).ok_or_else(|| no_such_tensor(&self.path, name))?;
        Ok((info, &self.parts[*part].1[info.bytes.clone()]))
    }
}

fn refused(path: &Path, problem: Problem) -> Error {
    Error::file(path, problem.what, problem.hint)
}

/// Maps a file and reads its header.
fn read(path: &Path) -> Result<(Bytes, Header)> {
    let bytes = Bytes::map(path)?;
    let header = Header::read(&bytes).map_err(|why| refused(path, why))?;
    Ok((bytes, header))
}

/// Says that a part is missing, if that is why it cannot be read.
fn missing_part(error: Error, part: &Path, index: usize, count: u64) -> Error {
    match error {
        Error::Missing { .. } => Error::missing(
            part,
            format!("part {} of {count} is missing", index + 1),
            "fetch all parts into one folder",
        ),
        other => other,
    }
}
