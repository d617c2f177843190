//! candle-transformers' models of other families, on the tiny models of these families: `mistral`, `qwen2`, `qwen3`,
//! `gemma2`, `gemma3`, and those that read GGUF files. Beside each, this project's own model of the same files, which
//! agrees with transformers.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;

use candle_core::quantized::gguf_file::Content;
use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{
    gemma2, gemma3, mistral, quantized_gemma3, quantized_qwen2, quantized_qwen3, qwen2, qwen3,
};
use rbees_check::model::{Attention, Cache, Input, Llama};
use rbees_check::models;
use rbees_check::weights::Weights;
use serde_json::{Map, Value, json};

use crate::fixtures;
use crate::ports::{LastLogits, tensors};

/// One of candle-transformers' models, whose interfaces are alike.
trait Model {
    fn forward(&mut self, ids: &Tensor, start: usize) -> Result<Tensor>;
    fn clear(&mut self);
}

macro_rules! models {
    ($($model:ty)*) => {$(
        impl Model for $model {
            fn forward(&mut self, ids: &Tensor, start: usize) -> Result<Tensor> {
                <$model>::forward(self, ids, start)
            }

            fn clear(&mut self) {
                self.clear_kv_cache();
            }
        }
    )*};
}

models!(
    mistral::Model qwen2::ModelForCausalLM qwen3::ModelForCausalLM gemma2::Model gemma3::Model
    quantized_qwen2::ModelWeights quantized_qwen3::ModelWeights
);

impl Model for quantized_gemma3::ModelWeights {
    fn forward(&mut self, ids: &Tensor, start: usize) -> Result<Tensor> {
        quantized_gemma3::ModelWeights::forward(self, ids, start)
    }

    /// It has no such function: a pass at position 0 starts a new sequence.
    fn clear(&mut self) {}
}

pub struct Port(Box<dyn Model>);

impl LastLogits for Port {
    fn begin(&mut self) -> Result<()> {
        self.0.clear();
        Ok(())
    }

    fn last(&mut self, ids: &[u32], start: usize) -> Result<Vec<f32>> {
        let ids = Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?;
        self.0.forward(&ids, start)?.flatten_all()?.to_dtype(DType::F32)?.to_vec1()
    }
}

impl Port {
    /// The model that reads GGUF files of this family.
    pub fn of_gguf(family: &str, path: &std::path::Path) -> Result<Self> {
        let mut file = BufReader::new(File::open(path)?);
        let (content, device) = (Content::read(&mut file)?, Device::Cpu);
        Ok(Self(match family {
            "qwen2" => Box::new(quantized_qwen2::ModelWeights::from_gguf(content, &mut file, &device)?),
            "qwen3" => Box::new(quantized_qwen3::ModelWeights::from_gguf(content, &mut file, &device)?),
            _ => Box::new(quantized_gemma3::ModelWeights::from_gguf(content, &mut file, &device)?),
        }))
    }
}

/// This project's own model.
pub struct Ours {
    llama: Llama,
    cache: Cache,
}

impl Ours {
    pub fn new(llama: Llama) -> Self {
        Self { cache: llama.new_cache(), llama }
    }
}

impl LastLogits for Ours {
    fn begin(&mut self) -> Result<()> {
        self.cache = self.llama.new_cache();
        Ok(())
    }

    fn last(&mut self, ids: &[u32], start: usize) -> Result<Vec<f32>> {
        let logits = self.llama.forward(&Input::single(ids, start), &mut self.cache, &mut ())?;
        logits.narrow(1, ids.len() - 1, 1)?.flatten_all()?.to_dtype(DType::F32)?.to_vec1()
    }
}

/// A tiny model: its tensors, and its config.json.
#[derive(Clone)]
pub struct Tiny {
    pub family: &'static str,
    tensors: HashMap<String, Tensor>,
    config: Map<String, Value>,
}

impl Tiny {
    pub fn open(family: &'static str) -> Result<Self> {
        let name = format!("tiny-{family}");
        let text = std::fs::read_to_string(fixtures(&format!("{name}/config.json")))?;
        let config = serde_json::from_str(&text).expect("a config");
        Ok(Self { family, tensors: tensors(&models::open(&name)?.weights)?, config })
    }

    /// The same with another value of a key.
    pub fn with(&self, key: &str, value: Value) -> Self {
        let mut other = self.clone();
        other.config.insert(key.into(), value);
        other
    }

    /// The first `layers` layers of it.
    pub fn cut(&self, layers: usize) -> Self {
        let mut other = self.with("num_hidden_layers", json!(layers));
        if let Some(Value::Array(types)) = other.config.get_mut("layer_types") {
            types.truncate(layers);
        }
        other.tensors.retain(|name, _| match name.strip_prefix("model.layers.") {
            Some(rest) => {
                rest.split('.').next().and_then(|n| n.parse().ok()).is_some_and(|n: usize| n < layers)
            }
            None => true,
        });
        other
    }

    /// The same with tensors changed.
    pub fn altered(&self, change: impl Fn(&str, &Tensor) -> Result<Tensor>) -> Result<Self> {
        let mut other = self.clone();
        for (name, tensor) in &mut other.tensors {
            *tensor = change(name, tensor)?;
        }
        Ok(other)
    }

    /// Without the scaling of the rotation.
    pub fn unscaled(&self) -> Self {
        let mut rope = self.config["rope_parameters"].clone();
        let full = if rope.get("full_attention").is_some() { &mut rope["full_attention"] } else { &mut rope };
        full["rope_type"] = json!("default");
        full.as_object_mut().expect("an object").remove("factor");
        self.with("rope_parameters", rope)
    }

    /// The config as transformers 4 wrote it, which is what Candle reads.
    fn older_config(&self) -> Map<String, Value> {
        let mut config = self.config.clone();
        let rope = config["rope_parameters"].clone();
        let full = rope.get("full_attention").unwrap_or(&rope);
        config.insert("rope_theta".into(), full["rope_theta"].clone());
        if let Some(factor) = full.get("factor") {
            config.insert("rope_scaling".into(), json!({"rope_type": full["rope_type"], "factor": factor}));
        }
        if let Some(local) = rope.get("sliding_attention") {
            config.insert("rope_local_base_freq".into(), local["rope_theta"].clone());
        }
        if config.get("sliding_window").is_none_or(Value::is_null) {
            config.insert("sliding_window".into(), json!(4096)); // Candle needs a number
        }
        config
    }

    /// candle-transformers' model of it.
    pub fn port(&self, dtype: DType) -> Result<Port> {
        fn read<C: serde::de::DeserializeOwned>(config: &Map<String, Value>) -> Result<C> {
            serde_json::from_value(Value::Object(config.clone())).map_err(candle_core::Error::wrap)
        }
        let (config, vb) =
            (self.older_config(), VarBuilder::from_tensors(self.tensors.clone(), dtype, &Device::Cpu));
        Ok(Port(match self.family {
            "mistral" => Box::new(mistral::Model::new(&read(&config)?, vb)?),
            "qwen2" => Box::new(qwen2::ModelForCausalLM::new(&read(&config)?, vb)?),
            "qwen3" => Box::new(qwen3::ModelForCausalLM::new(&read(&config)?, vb)?),
            "gemma2" => Box::new(gemma2::Model::new(false, &read(&config)?, vb)?),
            _ => Box::new(gemma3::Model::new(false, &read(&config)?, vb)?),
        }))
    }

    /// This project's model of it.
    pub fn ours(&self, dtype: DType) -> Result<Ours> {
        let file = std::env::temp_dir().join(format!("rbees-{}.safetensors", std::process::id()));
        candle_core::safetensors::save(&self.tensors, &file)?;
        let bytes = std::fs::read(&file)?;
        std::fs::remove_file(&file)?;
        let config = serde_json::to_string(&self.config).expect("a config");
        let weights = Weights::from_parts(self.family, &config, None, Box::leak(bytes.into_boxed_slice()))?;
        Ok(Ours::new(Llama::load(&weights, &Device::Cpu, dtype, Attention::Plain)?))
    }
}
