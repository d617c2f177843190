//! Weight files → named tensors and a configuration. Knows no model.
//!
//! Names are Hugging Face's (`model.layers.0.self_attn.q_proj.weight`), matrices are `[out, in]`.
//! Everything read here is untrusted: a damaged file is an error that names it, never a panic, and
//! a missing tensor is never a silent default.

mod config;
mod errors;
pub mod gguf;
mod identity;
mod open;
mod safetensors;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};

pub use self::config::{Config, RopeLayout};
use self::gguf::Gguf;
pub use self::identity::sha256_of;
use self::safetensors::Shards;
use crate::{Error, Result};

/// The key of a `config.json` whose tensors are a part of a model: the site that they are for.
pub const PART: &str = "rbees_check_part";

/// A model's tensors and configuration. Tensors stay on disk until asked for; a clone shares them.
#[derive(Clone, Debug)]
pub struct Weights {
    origin: PathBuf,
    config: Config,
    source: Arc<Source>,
    /// Texts beside the tensors that define the model: name and content.
    texts: Vec<(String, String)>,
    replaced: BTreeMap<String, Tensor>,
}

#[derive(Debug)]
enum Source {
    Gguf(Gguf),
    Shards(Shards),
}

impl Weights {
    /// What contradicts itself, a clause each: numbers of the configuration, then tensors that it
    /// demands and that are missing or have another shape. Empty for everything that `open` opens.
    pub fn lint(&self) -> Vec<String> {
        let wrong = self.config.lint();
        if !wrong.is_empty() {
            return wrong;
        }
        let problem = |(name, want): (String, Vec<usize>)| match self.shape(&name) {
            None => Some(format!("tensor `{name}` is missing")),
            Some(got) if got != want => {
                Some(format!("tensor `{name}` is {got:?}, the configuration wants {want:?}"))
            }
            Some(_) => None,
        };
        self.config.tensors().into_iter().filter_map(problem).collect()
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Goes on with another configuration, unchecked: this is how a wrong ε is planted.
    pub fn set_config(&mut self, config: Config) {
        self.config = config;
    }

    /// The names of the tensors that the model has, sorted bytewise.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.config.tensors().into_iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names
    }

    /// Tensors in the file that the model has no use for. Not among them are stored tables of the
    /// rotation's wavelengths, which many old files carry and transformers ignores as well.
    pub fn unexpected(&self) -> Vec<String> {
        let known = self.names();
        let stray = |name: &&str| {
            known.binary_search_by(|k| k.as_str().cmp(name)).is_err()
                && !name.ends_with(".rotary_emb.inv_freq")
        };
        match &*self.source {
            Source::Gguf(file) => file.names().filter(stray).map(str::to_owned).collect(),
            Source::Shards(shards) => shards.names().filter(stray).map(str::to_owned).collect(),
        }
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

    /// A tensor, dequantised, with rows as stored: q and k of a GGUF file stay permuted, for a
    /// rotation of [`RopeLayout::Interleaved`].
    ///
    /// Blocks are dequantised on the CPU in f32, so that every device starts from the same values.
    ///
    /// # Errors
    /// When there is no such tensor or the device has no memory for it.
    pub fn tensor(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        let tensor = match (self.replaced.get(name), &*self.source) {
            (Some(tensor), _) => tensor.clone(),
            (None, Source::Gguf(file)) => file.tensor(name)?,
            (None, Source::Shards(shards)) => shards.tensor(name)?,
        };
        Ok(tensor.to_dtype(dtype)?.to_device(device)?)
    }

    /// A tensor in f32 on the CPU, in Hugging Face's row order whatever the file has, contiguous:
    /// what hashes and references are made of.
    ///
    /// # Errors
    /// As [`Weights::tensor`].
    pub fn canonical(&self, name: &str) -> Result<Tensor> {
        let tensor = self.tensor(name, DType::F32, &Device::Cpu)?;
        let Config { head_dim, rope_layout, .. } = self.config;
        let rotated =
            name.ends_with(".self_attn.q_proj.weight") || name.ends_with(".self_attn.k_proj.weight");
        if rope_layout == RopeLayout::HalfSplit || !rotated {
            return Ok(tensor.contiguous()?);
        }
        let (rows, width) = tensor.dims2()?;
        // [rows, in] → [heads, pair, member, in] → [heads, member, pair, in]
        let pairs = tensor.reshape((rows.checked_div(head_dim).unwrap_or(0), head_dim / 2, 2, width))?;
        Ok(pairs.transpose(1, 2)?.contiguous()?.reshape((rows, width))?)
    }

    /// A tensor in the blocks of its GGUF file. One that was put in the place of another is rounded
    /// to the other's blocks.
    ///
    /// # Errors
    /// When the weights are not from a GGUF file, the tensor is not there, or another one does not
    /// fit into such blocks.
    pub fn quantized(&self, name: &str, device: &Device) -> Result<Arc<QTensor>> {
        let Source::Gguf(file) = &*self.source else {
            return Err(Error::file(&self.origin, "safetensors have no blocks", "use --matmul dense"));
        };
        match (self.replaced.get(name), file.dtype(name)) {
            (Some(tensor), Some(dtype)) => {
                let tensor = tensor.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
                Ok(Arc::new(QTensor::quantize_onto(&tensor, dtype, device)?))
            }
            _ => file.quantized(name, device),
        }
    }

    /// Puts another tensor in the place of one, in rows as stored; all others stay as they are.
    /// Unchecked: see [`Weights::lint`].
    pub fn replace(&mut self, name: &str, tensor: Tensor) {
        self.replaced.insert(name.to_owned(), tensor);
    }

    /// Are any of the model's tensors stored in blocks of less than 16 bits?
    pub fn is_quantized(&self) -> bool {
        use GgmlDType::{BF16, F16, F32};
        let Source::Gguf(file) = &*self.source else { return false };
        file.names().any(|name| !matches!(file.dtype(name), Some(F32 | F16 | BF16)))
    }

    /// The GGUF file behind the weights: its metadata carries the tokenizer.
    pub fn gguf(&self) -> Option<&Gguf> {
        match &*self.source {
            Source::Gguf(file) => Some(file),
            Source::Shards(_) => None,
        }
    }

    /// Where the weights came from.
    pub fn origin(&self) -> &Path {
        &self.origin
    }

    /// How a tensor is stored in its file: the type, `F16` or `Q4_1`, and the bytes.
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
