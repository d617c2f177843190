//! One interface for the two models: it returns the logits of the last of some tokens, given the cache.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use candle_core::quantized::gguf_file::Content;
use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama::{Cache, Config, Llama, LlamaConfig};
use candle_transformers::models::quantized_llama::ModelWeights;
use rbees_check::weights::Weights;

pub trait LastLogits {
    /// Empties the cache, as far as the model's own API can.
    fn begin(&mut self) -> Result<()>;

    /// Logits of the last of `ids`, `[vocab]`. The first of them is at position `start`.
    fn last(&mut self, ids: &[u32], start: usize) -> Result<Vec<f32>>;
}

/// `llama`, with its separate cache.
pub struct Float {
    pub model: Llama,
    pub config: Config,
    pub cache: Cache,
    dtype: DType,
}

impl Float {
    pub fn new(tensors: HashMap<String, Tensor>, config: Config, dtype: DType) -> Result<Self> {
        let model = Llama::load(VarBuilder::from_tensors(tensors, dtype, &Device::Cpu), &config)?;
        Ok(Self { cache: Cache::new(true, dtype, &config, &Device::Cpu)?, model, config, dtype })
    }

    /// From weights that this project has read, and the text of a `config.json`.
    pub fn on(weights: &Weights, config: &str, dtype: DType) -> Result<Self> {
        Self::new(tensors(weights)?, parse(config), dtype)
    }
}

/// The weights under Hugging Face's names, with its row order, which this project uses too.
pub fn tensors(weights: &Weights) -> Result<HashMap<String, Tensor>> {
    weights.names().into_iter().map(|name| Ok((name.clone(), weights.canonical(&name)?))).collect()
}

/// Parses the config like Candle's own examples.
pub fn parse(config: &str) -> Config {
    serde_json::from_str::<LlamaConfig>(config).expect("a config").into_config(false)
}

impl LastLogits for Float {
    fn begin(&mut self) -> Result<()> {
        self.cache = Cache::new(true, self.dtype, &self.config, &Device::Cpu)?;
        Ok(())
    }

    fn last(&mut self, ids: &[u32], start: usize) -> Result<Vec<f32>> {
        let ids = Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?;
        self.model.forward(&ids, start, &mut self.cache)?.squeeze(0)?.to_vec1()
    }
}

/// `quantized_llama`, from a file.
pub struct Quantized(pub ModelWeights);

impl Quantized {
    pub fn open(path: &Path) -> Result<Self> {
        let mut file = BufReader::new(File::open(path)?);
        let content = Content::read(&mut file)?;
        Ok(Self(ModelWeights::from_gguf(content, &mut file, &Device::Cpu)?))
    }
}

impl LastLogits for Quantized {
    fn begin(&mut self) -> Result<()> {
        self.0.clear_kv_cache();
        Ok(())
    }

    fn last(&mut self, ids: &[u32], start: usize) -> Result<Vec<f32>> {
        let ids = Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?;
        self.0.forward(&ids, start)?.squeeze(0)?.to_vec1()
    }
}
