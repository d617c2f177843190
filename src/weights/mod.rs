//! Reads weight files: named tensors and a configuration. Independent of any model code.
//!
//! Names are Hugging Face's (`model.layers.0.self_attn.q_proj.weight`), matrices are `[out, in]`.
//! Everything read here is untrusted: a damaged file is an error that names it, never a panic, and
//! a missing tensor is never a silent default.

mod config;
mod contradictions;
mod errors;
mod finite;
pub mod gguf;
mod held;
mod identity;
mod open;
mod safetensors;
mod unread;
mod wrapped;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};

pub use self::config::{Activation, Config, Family, LayerType, RopeLayout, RopeScaling, gguf_key};
pub use self::finite::NotFinite;
use self::gguf::Gguf;
pub use self::identity::sha256_of;
use self::safetensors::Shards;
pub use self::unread::{Meaning, Unread};
use crate::{Error, Result};

/// The key in a `config.json` that marks tensors as part of a model; its value is the site that they are for.
pub const PART: &str = "rbees_check_part";

/// The key of a `config.json` in a bundle that lists the modules with a bias.
pub const BIASES: &str = "rbees_check_biases";

/// The `rope_type` of a `config.json` in a bundle whose model has a factor for each pair, in `factors`.
pub const PER_PAIR: &str = "rbees_check_per_pair";

/// A model's tensors and configuration. Tensors stay on disk until requested; clones share them.
#[derive(Clone, Debug)]
pub struct Weights {
    origin: PathBuf,
    config: Config,
    source: Arc<Source>,
    /// Text files that define the model besides the tensors: name and content.
    texts: Vec<(String, String)>,
    notes: Vec<String>,
    replaced: BTreeMap<String, Tensor>,
}

#[derive(Debug)]
enum Source {
    Gguf(Gguf),
    Shards(Shards),
}

impl Weights {
    /// Everything inconsistent, one clause each: first numbers of the configuration, then required tensors
    /// that are missing or have another shape. Empty for everything that `open` accepts.
    pub fn lint(&self) -> Vec<String> {
        let wrong = self.config.lint();
        if !wrong.is_empty() {
            return wrong;
        }
        let problem = |(name, want): (String, Vec<usize>)| match self.shape(&name) {
            None => Some(format!("tensor `{name}` is missing")),
            Some(got) if got != want => Some(format!(
                "tensor `{name}` has shape {got:?}, but the configuration requires {want:?}{}",
                self.sources(&name, got, &want)
            )),
            Some(_) => None,
        };
        self.config.tensors().into_iter().filter_map(problem).collect()
    }

    /// Which keys give the dimensions in which `got` and `want` differ: `: vocab_size is 12 in config.json`.
    fn sources(&self, name: &str, got: &[usize], want: &[usize]) -> String {
        let value = |key: &&str| Some(format!("{} is {}", self.key(key), self.config.size(key)?));
        let differs = |at: &usize| got.len() != want.len() || got.get(*at) != want.get(*at);
        let dimensions = config::dimension_keys(name).iter().enumerate();
        let keys = dimensions.filter(|(at, _)| differs(at)).flat_map(|(_, keys)| keys.iter());
        let stated: Vec<String> = keys.filter_map(value).collect();
        if stated.is_empty() {
            String::new()
        } else {
            format!(": {} in {}", stated.join(" and "), self.place())
        }
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Sets another configuration without checks; used to plant mistakes such as a wrong ε.
    pub fn set_config(&mut self, config: Config) {
        self.config = config;
    }

    /// The names of the model's tensors, sorted bytewise.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.config.tensors().into_iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names
    }

    /// The shape of a tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        if let Some(tensor) = self.replaced.get(name) {
            return Some(tensor.dims());
        }
        match &*self.source {
            Source::Gguf(file) => file.shape(name),
            Source::Shards(shards) => shards.shape(name),
        }
    }

    /// A tensor, dequantised, with rows as stored: q and k of a GGUF file stay permuted, for a rotation with
    /// [`RopeLayout::Interleaved`]. The weights of a norm are always Hugging Face's.
    ///
    /// Blocks are dequantised on the CPU in f32, so every device starts from the same values.
    ///
    /// # Errors
    /// When there is no such tensor or the device has no memory for it.
    pub fn tensor(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        let tensor = match (self.replaced.get(name), &*self.source) {
            (Some(tensor), _) => tensor.clone(),
            (None, Source::Gguf(file)) => self.without_offset(name, file.tensor(name)?)?,
            (None, Source::Shards(shards)) => shards.tensor(name)?,
        };
        Ok(tensor.to_dtype(dtype)?.to_device(device)?)
    }

    /// A tensor of a GGUF file as Hugging Face stores it: llama.cpp's converter adds 1 to the weights of Gemma's
    /// norms, so that no norm adds it later.
    fn without_offset(&self, name: &str, tensor: Tensor) -> Result<Tensor> {
        let offset = self.config.family.norm_offset();
        if offset == 0.0 || !name.ends_with("norm.weight") {
            return Ok(tensor);
        }
        Ok((tensor.to_dtype(DType::F32)? - offset)?)
    }

    /// A tensor in f32 on the CPU, contiguous, with rows in Hugging Face's order for every file format; used
    /// for hashes and references.
    ///
    /// # Errors
    /// As [`Weights::tensor`].
    pub fn canonical(&self, name: &str) -> Result<Tensor> {
        let tensor = self.tensor(name, DType::F32, &Device::Cpu)?;
        let Config { head_dim, .. } = self.config;
        if !self.is_permuted(name) {
            return Ok(tensor.contiguous()?);
        }
        // A bias has one entry for each row of its matrix.
        let shape = tensor.dims().to_vec();
        let (rows, width) = if shape.len() == 1 { (shape[0], 1) } else { tensor.dims2()? };
        // [rows, in] → [heads, pair, member, in] → [heads, member, pair, in]
        let pairs = tensor.reshape((rows.checked_div(head_dim).unwrap_or(0), head_dim / 2, 2, width))?;
        Ok(pairs.transpose(1, 2)?.contiguous()?.reshape(shape)?)
    }

    /// Rows `ids` of a matrix in f32 on the CPU, in Hugging Face's order: only these rows are read from the file, unless
    /// the file permutes them.
    ///
    /// # Errors
    /// As [`Weights::rows`].
    pub fn canonical_rows(&self, name: &str, ids: &[u32]) -> Result<Tensor> {
        if self.is_permuted(name) {
            return Ok(self.canonical(name)?.index_select(&Tensor::new(ids, &Device::Cpu)?, 0)?);
        }
        Ok(self.rows(name, ids, DType::F32, &Device::Cpu)?.contiguous()?)
    }

    /// Does the file store this tensor with permuted rows?
    fn is_permuted(&self, name: &str) -> bool {
        let module = name.strip_suffix(".weight").or(name.strip_suffix(".bias"));
        let rotated =
            module.is_some_and(|m| m.ends_with(".self_attn.q_proj") || m.ends_with(".self_attn.k_proj"));
        rotated && self.config.rope_layout == RopeLayout::Interleaved
    }

    /// Rows `ids` of a matrix, dequantised, as stored, `[ids, in]`: only these rows are read from the file.
    ///
    /// # Errors
    /// When there is no such matrix, or it has no such row.
    pub fn rows(&self, name: &str, ids: &[u32], dtype: DType, device: &Device) -> Result<Tensor> {
        let Some(&[rows, _]) = self.shape(name) else {
            return Err(Error::file(
                &self.origin,
                format!("`{name}` is not a matrix of this model"),
                "check its name",
            ));
        };
        if let Some(id) = ids.iter().find(|&&id| id as usize >= rows) {
            let hint = "use the tokenizer that belongs to these weights";
            return Err(Error::file(
                &self.origin,
                format!("`{name}` has {rows} rows, but no row {id}"),
                hint,
            ));
        }
        let tensor = match (self.replaced.get(name), &*self.source) {
            (Some(tensor), _) => tensor.index_select(&Tensor::new(ids, tensor.device())?, 0)?,
            (None, Source::Gguf(file)) => file.rows(name, ids)?,
            (None, Source::Shards(shards)) => shards.rows(name, ids)?,
        };
        Ok(tensor.to_dtype(dtype)?.to_device(device)?)
    }

    /// A tensor in the blocks of its GGUF file. A replacement tensor is rounded to the blocks of the
    /// original.
    ///
    /// # Errors
    /// When the weights are not from a GGUF file, the tensor does not exist, or a replacement does not fit
    /// into such blocks.
    pub fn quantized(&self, name: &str, device: &Device) -> Result<Arc<QTensor>> {
        let Source::Gguf(file) = &*self.source else {
            return Err(Error::file(
                &self.origin,
                "safetensors files have no quantised blocks",
                "use --matmul dense",
            ));
        };
        match (self.replaced.get(name), file.dtype(name)) {
            (Some(tensor), Some(dtype)) => {
                let tensor = tensor.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
                Ok(Arc::new(QTensor::quantize_onto(&tensor, dtype, device)?))
            }
            _ => file.quantized(name, device),
        }
    }

    /// Replaces a tensor, with rows as stored; all others are unchanged. Unchecked: see [`Weights::lint`].
    pub fn replace(&mut self, name: &str, tensor: Tensor) {
        self.replaced.insert(name.to_owned(), tensor);
    }

    /// Are any of the model's tensors stored in blocks of less than 16 bits?
    pub fn is_quantized(&self) -> bool {
        use GgmlDType::{BF16, F16, F32};
        let Source::Gguf(file) = &*self.source else { return false };
        file.names().any(|name| !matches!(file.dtype(name), Some(F32 | F16 | BF16)))
    }

    /// The GGUF file that the weights come from; its metadata contains the tokenizer.
    pub fn gguf(&self) -> Option<&Gguf> {
        match &*self.source {
            Source::Gguf(file) => Some(file),
            Source::Shards(_) => None,
        }
    }

    /// What a user should know about how the files were read, one line each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Where the weights come from.
    pub fn origin(&self) -> &Path {
        &self.origin
    }

    /// How a tensor is stored in its file: the type (`F16`, `Q4_1`) and the number of bytes.
    pub fn stored(&self, name: &str) -> Option<(String, usize)> {
        match &*self.source {
            Source::Gguf(file) => file.stored(name).map(|(dtype, bytes)| (format!("{dtype:?}"), bytes)),
            Source::Shards(shards) => shards.stored(name).map(|(dtype, bytes)| (format!("{dtype:?}"), bytes)),
        }
    }

    /// `30 layers, width 576, 9 heads on 3 kv heads · 61 F32, 210 Q4_1, 1 Q8_0`.
    pub fn describe(&self) -> String {
        let mut types: BTreeMap<String, usize> = BTreeMap::new();
        for name in self.names() {
            let (dtype, _) = self.stored(&name).unwrap_or_default();
            *types.entry(dtype).or_default() += 1;
        }
        let types: Vec<String> = types.iter().map(|(dtype, count)| format!("{count} {dtype}")).collect();
        format!("{} · {}", self.config, types.join(", "))
    }
}
