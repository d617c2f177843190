//! The whole model: loading, and the forward pass from ids to logits.

use std::collections::BTreeSet;

use candle_core::{DType, Device, Module, Tensor};
use rayon::prelude::*;

use super::block::Block;
use super::cache::Cache;
use super::embedding::Embedding;
use super::input::Input;
use super::lane::{self, Lane};
use super::load::Loader;
use super::mask::Mask;
use super::norm::Norm;
use super::pass::{Pass, Span, Taps, View};
use super::path::{Attention, Path};
use super::projection::{Matmul, Projection};
use super::rope::Rope;
use super::softcap::softcap;
use crate::probe::{Arithmetic, Kind, Kinds, Probe, Site};
use crate::weights::{Config, LayerType, Weights};
use crate::{Error, Result};

/// A Llama, or a model of a related family, with its weights on a device.
#[derive(Clone, Debug)]
pub struct Llama {
    /// The shape that it was built for.
    pub config: Config,
    /// `[vocab, hidden]`.
    pub embed_tokens: Embedding,
    /// The layers, in order.
    pub layers: Vec<Block>,
    /// The norm after the last layer.
    pub norm: Norm,
    /// `[vocab, hidden]`: the embedding's own tensor if the config ties the two.
    pub lm_head: Projection,
    /// The factor of the embedding rows, if the family scales them.
    pub embedding_scale: Option<f64>,
    /// The c of c · tanh(x / c) of the logits, if they are capped.
    pub softcap: Option<f64>,
    /// Turns positions into angles.
    pub rope: Rope,
    /// The same in layers of the type [`LayerType::Sliding`], if they rotate differently.
    pub local_rope: Option<Rope>,
    /// The largest number of keys that a query of such a layer sees, its own included; `None` if it sees all
    /// earlier ones.
    pub window: Option<usize>,
    /// The path of every layer.
    pub path: Path,
    /// How matrix products round activations on this device.
    pub arithmetic: Arithmetic,
    dtype: DType,
}

impl Llama {
    /// Loads `weights` onto `device`, rounded to `dtype` (f32, f16 or bf16).
    ///
    /// # Errors
    /// A tensor is missing or has another shape than the config says; the device or the dtype cannot run this
    /// path; the path has quantised products but the file has no quantised blocks.
    pub fn load(weights: &Weights, device: &Device, dtype: DType, path: impl Into<Path>) -> Result<Self> {
        Self::with_config(weights.config().clone(), weights, device, dtype, path)
    }

    /// Like [`Llama::load`], with `config` instead of the config in the file.
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
        let (embed_tokens, tied) =
            loader.embedding("model.embed_tokens.weight", [vocab, hidden], config.tie_word_embeddings)?;
        let lm_head = match tied {
            Some(tied) => tied,
            None => loader.linear("lm_head.weight", vocab, hidden)?,
        };
        let block = |layer| {
            let prefix = format!("model.layers.{layer}");
            Block::load(&loader, (layer, &prefix), &config, path.attention)
        };
        let layers: Vec<_> = (0..config.num_hidden_layers).into_par_iter().map(block).collect();
        let layers = layers.into_iter().collect::<Result<Vec<_>>>()?; // the first error, if there are several
        Ok(Self {
            embed_tokens,
            arithmetic: rounding(path.matmul, dtype, matrices(&layers, &lm_head))?,
            layers,
            norm: Norm::load(&loader, "model.norm.weight", hidden, &config)?,
            lm_head,
            embedding_scale: config.embedding_scale(),
            softcap: config.final_logit_softcapping,
            rope: Rope::new(&config),
            local_rope: Rope::local(&config),
            window: config.sliding_window,
            path,
            config,
            dtype,
        })
    }

    /// The same model with another attention path; the weights are shared.
    ///
    /// # Errors
    /// The device cannot run it.
    pub fn on(&self, attention: Attention) -> Result<Self> {
        runnable(&self.config, self.device(), self.dtype(), attention)?;
        let mut model = self.clone();
        model.path.attention = attention;
        model.layers.iter_mut().for_each(|block| block.self_attn.path = attention);
        Ok(model)
    }

    /// The rotation of layers of this type.
    pub fn rope_of(&self, layer_type: LayerType) -> &Rope {
        match layer_type {
            LayerType::Full => &self.rope,
            LayerType::Sliding => self.local_rope.as_ref().unwrap_or(&self.rope),
        }
    }

    /// The kinds of site that the model has.
    pub fn kinds(&self) -> Kinds {
        kinds_of(&self.config, self.softcap.is_some())
    }

    /// An empty cache for this model.
    pub fn new_cache(&self) -> Cache {
        Cache::new(&self.config)
    }

    /// Logits of every slot of `input`, `[b, s, vocab]`, after the tokens in `cache`.
    ///
    /// # Errors
    /// The input is unusable, exceeds the context length, or belongs to another batch than the cache. After
    /// an error of a probe or a tensor operation, reset the cache.
    pub fn forward<P: Probe>(&self, input: &Input, cache: &mut Cache, probe: &mut P) -> Result<Tensor> {
        let hidden = self.hidden(input, cache, probe)?; // [b, s, hidden]
        self.logits(&hidden, probe) // [b, s, vocab]
    }

    /// The forward pass without the last product: the final norm's output, `[b, s, hidden]`. The errors are
    /// those of [`Llama::forward`].
    pub fn hidden<P: Probe>(&self, input: &Input, cache: &mut Cache, probe: &mut P) -> Result<Tensor> {
        self.through(&mut [Lane { input, cache }], &input.ids, &input.positions, probe) // [b, s, hidden]
    }

    /// One forward pass over the rows of `ids`, `[b][s]`, with rows of zeros after them if `positions` has more.
    pub(super) fn through<P: Probe>(
        &self,
        lanes: &mut [Lane<'_>],
        ids: &[Vec<u32>],
        positions: &[Vec<usize>],
        probe: &mut P,
    ) -> Result<Tensor> {
        lane::extend(lanes, self.config.vocab_size)?;
        let pass = self.pass(lanes, positions)?;

        let x = self.embed_tokens.rows(ids, self.device())?; // [b, s, hidden]
        let x = scaled(x, self.embedding_scale)?; // [b, s, hidden]
        let x = probe.tap(Site::model(Kind::Embed), x)?;
        let mut x = lane::filled(&x, positions.first().map_or(0, Vec::len))?;
        let mut caches: Vec<_> = lanes.iter_mut().map(|lane| lane.cache.layers.iter_mut()).collect();
        for (layer, block) in self.layers.iter().enumerate() {
            let mut caches: Vec<_> = caches.iter_mut().filter_map(Iterator::next).collect();
            x = block.forward(x, &pass, &mut caches, &mut Taps { probe, layer })?; // [b, s, hidden]
        }
        probe.tap(Site::model(Kind::FinalNorm), self.norm.forward(&x)?) // [b, s, hidden]
    }

    /// Logits of rows of the final norm, `[b, s, hidden]` → `[b, s, vocab]`. Generation passes only the last
    /// row, because it needs no others.
    pub fn logits<P: Probe>(&self, hidden: &Tensor, probe: &mut P) -> Result<Tensor> {
        let logits = self.lm_head.forward(&hidden.contiguous()?)?; // [b, s, vocab]
        let logits = probe.tap(Site::model(Kind::Logits), logits)?;
        match self.softcap {
            None => Ok(logits),
            cap => probe.tap(Site::model(Kind::CappedLogits), softcap(logits, cap)?), // [b, s, vocab]
        }
    }

    /// The device it runs on.
    pub fn device(&self) -> &Device {
        self.norm.weight.device()
    }

    /// The dtype it computes in.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The data that the layers share. Call it after the caches were extended by the new slots.
    fn pass(&self, lanes: &[Lane<'_>], positions: &[Vec<usize>]) -> Result<Pass> {
        let of = |layer_type: LayerType| -> Result<(LayerType, View)> {
            let window = match layer_type {
                LayerType::Full => None,
                LayerType::Sliding => self.window,
            };
            let (path, dtype) = (self.path.attention, self.dtype());
            let rotation = self.rope_of(layer_type).at(positions, self.device())?;
            let mut start = 0;
            let span = |lane: &Lane<'_>| -> Result<Span> {
                let len = lane.input.len();
                let mask = Mask::new(&lane.cache.real, len, window, path, dtype, self.device())?;
                start += len;
                Ok(Span { start: start - len, len, mask })
            };
            let spans = lanes.iter().map(span).collect::<Result<_>>()?;
            Ok((layer_type, View { rotation, spans }))
        };
        let types: BTreeSet<LayerType> = self.layers.iter().map(|block| block.layer_type).collect();
        Ok(Pass::new(types.into_iter().map(of).collect::<Result<_>>()?))
    }
}

/// The matrices of these layers and of the output.
pub(super) fn matrices<'a>(
    layers: &'a [Block],
    lm_head: &'a Projection,
) -> impl Iterator<Item = &'a Projection> {
    layers.iter().flat_map(Block::matrices).chain([lm_head])
}

/// The kinds of site that a model of this config has, with or without capped logits.
pub(super) fn kinds_of(config: &Config, capped: bool) -> Kinds {
    let (heads, branches) = (config.family.norms_heads(), config.family.norms_branches());
    let more = [
        (heads, &[Kind::QNorm, Kind::KNorm][..]),
        (branches, &[Kind::FfnNormInput, Kind::FfnNorm, Kind::FfnPostNorm]),
        (capped, &[Kind::CappedLogits]),
    ];
    let llama = if branches { Kinds::LLAMA.without(Kind::PostNormInput) } else { Kinds::LLAMA };
    let more = more.into_iter().filter(|(has, _)| *has).flat_map(|(_, kinds)| kinds);
    more.fold(llama, |kinds, &kind| kinds.with(kind))
}

/// Rows of the embedding times the family's factor, which is rounded to the model's dtype before the product, as in
/// PyTorch: `[b, s, hidden]` → the same shape.
pub(super) fn scaled(x: Tensor, scale: Option<f64>) -> Result<Tensor> {
    match scale {
        None => Ok(x),
        Some(scale) => Ok(x.broadcast_mul(&Tensor::new(scale as f32, x.device())?.to_dtype(x.dtype())?)?),
    }
}

/// How this device's kernels round the activations of these matrices, found by a trial: see
/// [`super::projection`].
fn rounding<'a>(
    matmul: Matmul,
    dtype: DType,
    matrices: impl IntoIterator<Item = &'a Projection>,
) -> Result<Arithmetic> {
    if matmul == Matmul::Dense {
        return Ok(Arithmetic::Dense);
    }
    for matrix in matrices {
        if matrix.is_candle_q8_0() && matrix.activation_block(dtype)? == Some(256) {
            return Ok(Arithmetic::Blocks256);
        }
    }
    Ok(Arithmetic::Blocks32)
}

/// Checks that this path can run on this device.
fn runnable(config: &Config, device: &Device, dtype: DType, attention: Attention) -> Result<()> {
    if !matches!(dtype, DType::F32 | DType::F16 | DType::BF16) {
        return Err(Error::input(
            format!("the model does not support {}", dtype.as_str()),
            "use f32, f16 or bf16",
        ));
    }
    if attention == Attention::Fused && !device.is_cpu() {
        return Err(Error::input(
            "fused attention runs on the CPU only",
            "use plain attention on this device",
        ));
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
