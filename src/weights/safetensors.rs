//! A Hugging Face directory: `config.json` and one or several safetensors files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use safetensors::Dtype;
use serde::Deserialize;

use super::errors::{WHAT_A_MODEL_IS, no_such_tensor};
use super::wrapped;
use crate::arrays::{Bytes, safetensors_header};
use crate::files::short_name;
use crate::{Error, Result, files};

/// One safetensors file.
#[derive(Debug)]
struct Shard {
    /// Its path, or another name for messages.
    origin: PathBuf,
    bytes: Bytes,
}

#[derive(Clone, Debug)]
struct ShardTensor {
    shard: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    /// From the start of the file.
    bytes: std::ops::Range<usize>,
}

/// The tensors of all shards, by their Hugging Face names.
#[derive(Debug)]
pub(super) struct Shards {
    shards: Vec<Shard>,
    tensors: BTreeMap<String, ShardTensor>,
    /// What a user should know about the names in the files.
    notes: Vec<String>,
}

/// The largest `model.safetensors.index.json` that is read, in bytes: 600,000 tensors at 100 bytes each.
const INDEX_LIMIT: u64 = 64 << 20;

/// The part of `model.safetensors.index.json` that matters.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
    #[serde(default)]
    metadata: serde_json::Map<String, serde_json::Value>,
}

impl Shards {
    /// Maps `model.safetensors`, or else all files that `model.safetensors.index.json` names.
    ///
    /// # Errors
    /// When neither exists, a shard is missing or damaged, or a shard lacks a tensor that the index lists.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let whole = dir.join("model.safetensors");
        if whole.is_file() {
            return Self::read(vec![Shard { bytes: Bytes::map(&whole)?, origin: whole }])?.unwrapped();
        }
        let path = dir.join("model.safetensors.index.json");
        if !path.is_file() {
            if let Some(alone) = lone_shard(dir)? {
                let mut all = Self::read(vec![Shard { bytes: Bytes::map(&alone)?, origin: alone.clone() }])?;
                all.notes.push(format!(
                    "there is no model.safetensors.index.json, so `{}` is read as the whole model",
                    short_name(&alone.file_name().unwrap_or_default().to_string_lossy())
                ));
                return all.unwrapped();
            }
            // A pipe or a link that leads nowhere is in its place.
            if let Some(other) = [&whole, &path].into_iter().find(|path| path.symlink_metadata().is_ok()) {
                files::open(other, WHAT_A_MODEL_IS)?;
            }
            let hint = "only safetensors and GGUF are supported: convert other formats with transformers' `save_pretrained`";
            return Err(Error::file(
                dir,
                "has no model.safetensors and no model.safetensors.index.json",
                hint,
            ));
        }
        let again = "fetch the model directory again";
        let bytes = files::read(&path, INDEX_LIMIT, WHAT_A_MODEL_IS)?;
        let index: Index = files::python_json(&bytes).map_err(|e| Error::file(&path, e, again))?;
        let files: BTreeSet<&String> = index.weight_map.values().collect();
        let mut shards = Vec::new();
        for file in &files {
            // A name such as `../../secret` must not refer to a file outside the directory.
            let mut parts = Path::new(file.as_str()).components();
            if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
                return Err(Error::file(
                    &path,
                    format!("shard name `{}` is not a plain file name", short_name(file)),
                    again,
                ));
            }
            let origin = dir.join(file);
            if !origin.is_file() {
                return Err(Error::file(
                    &path,
                    format!("names `{}`, which does not exist", short_name(file)),
                    again,
                ));
            }
            shards.push(Shard { bytes: Bytes::map(&origin)?, origin });
        }
        let all = Self::read(shards)?;
        for (name, file) in &index.weight_map {
            let origin = dir.join(file);
            if all.tensors.get(name).is_none_or(|entry| all.shards[entry.shard].origin != origin) {
                return Err(Error::file(
                    &path,
                    format!("lists `{}` in {file}, but it is not there", short_name(name)),
                    again,
                ));
            }
        }
        let mut all = all.unwrapped()?;
        let stated = index.metadata.get("total_size");
        let bytes: usize = all.tensors.values().map(|tensor| tensor.bytes.len()).sum();
        if let Some(stated) =
            stated.and_then(serde_json::Value::as_u64).filter(|stated| *stated != bytes as u64)
        {
            all.notes.push(format!(
                "total_size is {stated} in model.safetensors.index.json, but the tensors in the files have {bytes} bytes"
            ));
        }
        Ok(all)
    }

    /// Reads a file that is compiled into the program.
    pub(super) fn from_static(origin: &str, bytes: &'static [u8]) -> Result<Self> {
        Self::read(vec![Shard { origin: origin.into(), bytes: Bytes::Static(bytes) }])?.unwrapped()
    }

    fn read(shards: Vec<Shard>) -> Result<Self> {
        let mut tensors = BTreeMap::new();
        for (number, shard) in shards.iter().enumerate() {
            for (name, entry) in shard.header(number)? {
                if tensors.insert(name.clone(), entry).is_some() {
                    let why = format!("`{}` is also in another shard", short_name(&name));
                    return Err(Error::file(
                        &shard.origin,
                        why,
                        "remove files that do not belong to the model",
                    ));
                }
            }
        }
        Ok(Self { shards, tensors, notes: Vec::new() })
    }

    /// The same tensors by the names that they have in a Llama.
    fn unwrapped(mut self) -> Result<Self> {
        let refuse =
            |why| Error::file(&self.shards[0].origin, why, "save only the model that is to be checked");
        let names = wrapped::unwrapped(self.tensors.keys().map(String::as_str)).map_err(refuse)?;
        let notes = self.notes.iter().cloned().chain(wrapped::note(&names)).collect();
        let named =
            |(stored, entry): (&String, &ShardTensor)| (names[stored.as_str()].clone(), entry.clone());
        let tensors = self.tensors.iter().map(named).collect();
        (self.tensors, self.notes) = (tensors, notes);
        Ok(self)
    }

    /// What a user should know about the names in the files.
    pub(super) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Whether two tensors have the same shape and values.
    ///
    /// # Errors
    /// As [`Shards::tensor`].
    pub(super) fn equal(&self, one: &str, other: &str) -> Result<bool> {
        if self.shape(one) != self.shape(other) {
            return Ok(false);
        }
        let values =
            |name| Ok::<_, Error>(self.tensor(name)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?);
        Ok(values(one)? == values(other)?)
    }

    /// Uses the tensor `from` also under the name `to`.
    pub(super) fn share(&mut self, from: &str, to: &str) {
        if let Some(entry) = self.tensors.get(from).cloned() {
            self.tensors.insert(to.to_owned(), entry);
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    pub(super) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|entry| entry.shape.as_slice())
    }

    /// The first tensor that is not stored as floats, and its type.
    pub(super) fn first_packed(&self) -> Option<(&str, Dtype)> {
        let mut all = self.tensors.iter().map(|(name, entry)| (name.as_str(), entry.dtype));
        all.find(|(_, dtype)| float(*dtype).is_none())
    }

    /// How a tensor is stored: its type, and its number of bytes in the file.
    pub(super) fn stored(&self, name: &str) -> Option<(Dtype, usize)> {
        self.tensors.get(name).map(|entry| (entry.dtype, entry.bytes.len()))
    }

    /// The files, in the order of their names.
    pub(super) fn files(&self) -> impl Iterator<Item = (&Path, &[u8])> {
        self.shards.iter().map(|shard| (shard.origin.as_path(), &*shard.bytes))
    }

    /// A tensor on the CPU in the dtype of the file.
    ///
    /// # Errors
    /// When it does not exist, or is not F32, F16, BF16 or F64.
    pub(super) fn tensor(&self, name: &str) -> Result<Tensor> {
        let missing = || no_such_tensor(&self.shards[0].origin, name);
        let entry = self.tensors.get(name).ok_or_else(missing)?;
        let Shard { origin, bytes } = &self.shards[entry.shard];
        let dtype = float(entry.dtype).ok_or_else(|| {
            let what = format!("`{name}` has type {:?}, which is not a supported float type", entry.dtype);
            Error::file(origin, what, "save the model as F32, F16, BF16 or F64")
        })?;
        Ok(Tensor::from_raw_buffer(&bytes[entry.bytes.clone()], dtype, &entry.shape, &Device::Cpu)?)
    }
}

impl Shards {
    /// Rows `ids` of a matrix on the CPU in the dtype of the file, `[ids, in]`.
    ///
    /// # Errors
    /// As [`Shards::tensor`].
    pub(super) fn rows(&self, name: &str, ids: &[u32]) -> Result<Tensor> {
        let missing = || no_such_tensor(&self.shards[0].origin, name);
        let entry = self.tensors.get(name).ok_or_else(missing)?;
        let raw = &self.shards[entry.shard].bytes[entry.bytes.clone()];
        let stride = raw.len() / entry.shape.first().copied().unwrap_or(1).max(1);
        let (dtype, width) = (float(entry.dtype), entry.shape.iter().skip(1).product::<usize>());
        let Some(dtype) = dtype else { return self.tensor(name) }; // the error for its type
        let mut bytes = Vec::with_capacity(ids.len() * stride);
        for &id in ids {
            let from = raw.get(id as usize * stride..).and_then(|rest| rest.get(..stride));
            bytes.extend_from_slice(from.ok_or_else(missing)?);
        }
        Ok(Tensor::from_raw_buffer(&bytes, dtype, &[ids.len(), width], &Device::Cpu)?)
    }
}

/// The only file of safetensors in a directory, if there is exactly one. If a part of the model is missing from it, the
/// first missing tensor is named later.
fn lone_shard(dir: &Path) -> Result<Option<PathBuf>> {
    let unreadable = |error| Error::file(dir, error, WHAT_A_MODEL_IS);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|end| end == "safetensors") && path.is_file() {
            found.push(path);
        }
    }
    Ok(found.pop().filter(|_| found.is_empty()))
}

/// The float type, if tensors of this type can be read.
fn float(dtype: Dtype) -> Option<DType> {
    match dtype {
        Dtype::F32 => Some(DType::F32),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::BF16),
        Dtype::F64 => Some(DType::F64),
        _ => None,
    }
}

impl Shard {
    /// All tensors of this file; every one is inside it.
    fn header(&self, number: usize) -> Result<Vec<(String, ShardTensor)>> {
        let damaged =
            |why: String| Error::file(&self.origin, why, "the file is damaged or incomplete: fetch it again");
        let (data, header) = safetensors_header(&self.bytes).map_err(damaged)?;
        let entry = |(name, info): (String, &safetensors::tensor::TensorInfo)| {
            let (start, end) = info.data_offsets;
            let bytes = data + start..data + end;
            (name, ShardTensor { shard: number, dtype: info.dtype, shape: info.shape.clone(), bytes })
        };
        Ok(header.tensors().into_iter().map(entry).collect())
    }
}
