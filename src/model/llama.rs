//! The whole model: loading, and the forward pass from ids to logits.

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::Embedding;

use super::block::Block;
use super::cache::Cache;
use super::input::Input;
use super::load::Loader;
use super::mask::Mask;
use super::norm::Norm;
use super::pass::{Pass, Taps};
use super::path::{Attention, Path};
use super::projection::{Matmul, Projection};
use super::rope::Rope;
use crate::probe::{Arithmetic, Kind, Probe, Site};
use crate::weights::{Config, Weights};
use crate::{Error, Result};

/// A Llama with its weights on a device.
#[derive(Clone, Debug)]
pub struct Llama {
    /// The shape that it was built for.
    pub config: Config,
    /// `[vocab, hidden]`.
    pub embed_tokens: Embedding,
    /// In order.
    pub layers: Vec<Block>,
    /// After the last layer.
    pub norm: Norm,
    /// `[vocab, hidden]`: the embedding's own tensor when the config ties the two.
    pub lm_head: Projection,
    /// Positions into angles.
    pub rope: Rope,
    /// The path of every layer.
    pub path: Path,
    /// What its products make of activations, here.
    pub arithmetic: Arithmetic,
}

impl Llama {
    /// Reads `weights` onto `device`, rounded to `dtype` (f32, f16 or bf16).
    ///
    /// # Errors
    /// When a tensor is missing or has another shape than the config says, and when the device, the
    /// dtype or the file (without blocks, for quantised products) cannot run this path.
    pub fn load(weights: &Weights, device: &Device, dtype: DType, path: impl Into<Path>) -> Result<Self> {
        Self::with_config(weights.config().clone(), weights, device, dtype, path)
    }

    /// As [`Llama::load`], believing `config` instead of the one in the file.
    pub fn with_config(
        config: Config,
        weights: &Weights,
        device: &Device,
        dtype: DType,
        path: impl Into<Path>,
    ) -> Result<Self> {
        let path = path.into();
        runnable(&config, device, dtype, path.attention)?;
        let loader = Loader { weights, device, dtype, matmul: path.matmul };
        let (vocab, hidden) = (config.vocab_size, config.hidden_size);
        let embedding = loader.tensor("model.embed_tokens.weight", &[vocab, hidden])?;
        let lm_head = if config.tie_word_embeddings {
            loader.tied("model.embed_tokens.weight", &embedding)?
        } else {
            loader.linear("lm_head.weight", vocab, hidden)?
        };
        let block = |layer| Block::load(&loader, &format!("model.layers.{layer}"), &config, path.attention);
        let layers = (0..config.num_hidden_layers).map(block).collect::<Result<Vec<_>>>()?;
        Ok(Self {
            embed_tokens: Embedding::new(embedding, hidden),
            arithmetic: rounding(
                path.matmul,
                dtype,
                layers.iter().flat_map(Block::matrices).chain([&lm_head]),
            )?,
            layers,
            norm: Norm::load(&loader, "model.norm.weight", hidden, config.rms_norm_eps)?,
            lm_head,
            rope: Rope::new(&config),
            path,
            config,
        })
    }

    /// The same weights, shared, with another attention.
    ///
    /// # Errors
    /// When the device cannot run it.
    pub fn on(&self, attention: Attention) -> Result<Self> {
        runnable(&self.config, self.device(), self.dtype(), attention)?;
        let mut model = self.clone();
        model.path.attention = attention;
        model.layers.iter_mut().for_each(|block| block.self_attn.path = attention);
        Ok(model)
    }

    /// An empty cache for this model.
    pub fn new_cache(&self) -> Cache {
        Cache::new(&self.config)
    }

    /// Logits of every slot of `input`, `[b, s, vocab]`, given what `cache` already holds.
    ///
    /// # Errors
    /// When the input is unusable, passes the context length, or belongs to another batch than the
    /// cache. After an error of a probe or a tensor operation, reset the cache.
    pub fn forward<P: Probe>(&self, input: &Input, cache: &mut Cache, probe: &mut P) -> Result<Tensor> {
        let hidden = self.hidden(input, cache, probe)?; // [b, s, hidden]
        self.logits(&hidden, probe) // [b, s, vocab]
    }

    /// All but the last product: the final norm's output, `[b, s, hidden]`. Errors as
    /// [`Llama::forward`].
    pub fn hidden<P: Probe>(&self, input: &Input, cache: &mut Cache, probe: &mut P) -> Result<Tensor> {
        input.check(self.config.vocab_size)?;
        cache.extend(input)?;
        let pass = self.pass(input, cache)?;

        let ids = Tensor::from_vec(input.ids.concat(), (input.batch(), input.len()), self.device())?;
        let x = self.embed_tokens.forward(&ids)?; // [b, s, hidden]
        let mut x = probe.tap(Site::model(Kind::Embed), x)?;
        for (layer, (block, cache)) in self.layers.iter().zip(&mut cache.layers).enumerate() {
            x = block.forward(x, &pass, cache, &mut Taps { probe, layer })?; // [b, s, hidden]
        }
        probe.tap(Site::model(Kind::FinalNorm), self.norm.forward(&x)?) // [b, s, hidden]
    }

    /// Logits of final-normed rows, `[b, s, hidden]` → `[b, s, vocab]`: all of them, or only the
    /// last, which is all that generation needs.
    pub fn logits<P: Probe>(&self, hidden: &Tensor, probe: &mut P) -> Result<Tensor> {
        let logits = self.lm_head.forward(&hidden.contiguous()?)?; // [b, s, vocab]
        probe.tap(Site::model(Kind::Logits), logits)
    }

    /// Where it runs.
    pub fn device(&self) -> &Device {
        self.embed_tokens.embeddings().device()
    }

    /// What it computes in.
    pub fn dtype(&self) -> DType {
        self.embed_tokens.embeddings().dtype()
    }

    /// What the layers share, once the cache knows the new slots.
    fn pass(&self, input: &Input, cache: &Cache) -> Result<Pass> {
        Ok(Pass {
            rotation: self.rope.at(&input.positions, self.device())?,
            mask: Mask::new(&cache.real, input.len(), self.path.attention, self.dtype(), self.device())?,
        })
    }
}

/// How this device's kernels round the activations of these matrices: tried, see [`super::projection`].
fn rounding<'a>(
    matmul: Matmul,
    dtype: DType,
    matrices: impl IntoIterator<Item = &'a Projection>,
) -> Result<Arithmetic> {
    if matmul == Matmul::Dense {
        return Ok(Arithmetic::Dense);
    }
    for matrix in matrices {
        if matrix.is_eight_bit() && matrix.activation_block(dtype)? == Some(256) {
            return Ok(Arithmetic::Blocks256);
        }
    }
    Ok(Arithmetic::Blocks32)
}

/// Can this path run there?
fn runnable(config: &Config, device: &Device, dtype: DType, attention: Attention) -> Result<()> {
    if !matches!(dtype, DType::F32 | DType::F16 | DType::BF16) {
        return Err(Error::input(
            format!("the model does not compute in {}", dtype.as_str()),
            "use f32, f16 or bf16",
        ));
    }
    if attention == Attention::Fused && !device.is_cpu() {
        return Err(Error::input("fused attention runs on the CPU only", "use plain attention here"));
    }
    let (heads, kv_heads) = (config.num_attention_heads, config.num_key_value_heads);
    if kv_heads == 0 || heads % kv_heads != 0 {
        return Err(Error::input(
            format!("{heads} query heads cannot share {kv_heads} key heads evenly"),
            "num_attention_heads must be a multiple of num_key_value_heads",
        ));
    }
    Ok(())
}
