//! One stage of a model by itself: the embedding, a layer, or the head. Only its weights are loaded, so that a model
//! larger than the memory can be run stage by stage.

use candle_core::{DType, Device, Module, Tensor};

use super::block::Block;
use super::cache::Cache;
use super::input::Input;
use super::llama::{kinds_of, scaled};
use super::load::Loader;
use super::mask::Mask;
use super::norm::Norm;
use super::pass::{Pass, Span, Taps, View};
use super::path::{Attention, Path};
use super::projection::{Matmul, Projection};
use super::rope::Rope;
use super::softcap::softcap;
use crate::probe::{Kind, Kinds, Probe, Site, StageName};
use crate::weights::{Config, LayerType, Weights};
use crate::{Error, Result};

/// A stage with its weights, in float arithmetic.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Which stage it is.
    pub name: StageName,
    config: Config,
    path: Path,
    device: Device,
    dtype: DType,
    part: Part,
}

/// The weights of a stage. Rows of the embedding and of the output matrix are read from the file when they are needed.
#[derive(Clone, Debug)]
enum Part {
    Embedding { weights: Weights },
    Layer(Box<Block>),
    Head { norm: Norm, weights: Weights, matrix: &'static str },
}

const EMBEDDING: &str = "model.embed_tokens.weight";

impl Stage {
    /// Loads a stage of `weights` onto `device`, rounded to `dtype`.
    ///
    /// # Errors
    /// A tensor is missing or has another shape than the config says.
    pub fn load(
        weights: &Weights,
        name: StageName,
        device: &Device,
        dtype: DType,
        attention: Attention,
    ) -> Result<Self> {
        let (config, path) = (weights.config().clone(), Path::from(attention));
        let loader = Loader { weights, device, dtype, matmul: Matmul::Dense };
        let part = match name {
            StageName::Embedding => Part::Embedding { weights: weights.clone() },
            StageName::Layer(layer) => {
                let prefix = format!("model.layers.{layer}");
                let block = Block::load(&loader, (layer, &prefix), &config, attention)?;
                Part::Layer(Box::new(block))
            }
            StageName::Head => Part::Head {
                norm: Norm::load(&loader, "model.norm.weight", config.hidden_size, &config)?,
                weights: weights.clone(),
                matrix: if config.tie_word_embeddings { EMBEDDING } else { "lm_head.weight" },
            },
        };
        Ok(Self { name, path, device: device.clone(), dtype, part, config })
    }

    /// The config of the whole model.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The kinds of site that the whole model has.
    pub fn kinds(&self) -> Kinds {
        kinds_of(&self.config, self.config.final_logit_softcapping.is_some())
    }

    /// The path.
    pub fn path(&self) -> Path {
        self.path
    }

    /// The dtype.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// An empty cache for this stage.
    pub fn new_cache(&self) -> Cache {
        let layers = usize::from(matches!(self.part, Part::Layer(_)));
        Cache::new(&Config { num_hidden_layers: layers, ..self.config.clone() })
    }

    /// The stage's result for the tokens of `input`, after those in `cache`. `x` is the result of the stage before, `[b,
    /// s, hidden]`; the embedding has none.
    ///
    /// # Errors
    /// Those of [`Llama::forward`](super::Llama::forward).
    pub fn forward<P: Probe>(
        &self,
        input: &Input,
        x: Option<Tensor>,
        cache: &mut Cache,
        probe: &mut P,
    ) -> Result<Tensor> {
        let x = || x.ok_or_else(|| Error::internal("this stage needs the result of the one before"));
        match &self.part {
            Part::Embedding { weights } => {
                let rows = weights.rows(EMBEDDING, &input.ids.concat(), self.dtype, &self.device)?;
                let x = rows.reshape((input.batch(), input.len(), self.config.hidden_size))?;
                probe.tap(Site::model(Kind::Embed), scaled(x, self.config.embedding_scale())?)
            }
            Part::Layer(block) => {
                let StageName::Layer(layer) = self.name else {
                    return Err(Error::internal("a layer without a number"));
                };
                let x = x()?;
                let pass = Pass::new([(block.layer_type, self.view(block.layer_type, input, cache)?)].into());
                block.forward(x, &pass, &mut [&mut cache.layers[0]], &mut Taps { probe, layer })
            }
            Part::Head { norm, weights, matrix } => {
                let normed = probe.tap(Site::model(Kind::FinalNorm), norm.forward(&x()?)?)?; // [b, s, hidden]
                let mut logits = Vec::new();
                for rows in weights.slices(matrix) {
                    let slice = weights.rows(matrix, &rows, self.dtype, &self.device)?; // [slice, hidden]
                    logits.push(Projection::dense(slice).forward(&normed)?);
                }
                let logits = probe.tap(Site::model(Kind::Logits), Tensor::cat(&logits, 2)?)?; // [b, s, vocab]
                match self.config.final_logit_softcapping {
                    None => Ok(logits),
                    cap => probe.tap(Site::model(Kind::CappedLogits), softcap(logits, cap)?), // [b, s, vocab]
                }
            }
        }
    }

    /// The rotation and the mask of a layer of this type.
    fn view(&self, layer_type: LayerType, input: &Input, cache: &Cache) -> Result<View> {
        let (window, rope) = match layer_type {
            LayerType::Full => (None, None),
            LayerType::Sliding => (self.config.sliding_window, Rope::local(&self.config)),
        };
        let rope = rope.unwrap_or_else(|| Rope::new(&self.config));
        let (path, dtype) = (self.path.attention, self.dtype);
        let mask = Mask::new(&cache.real, input.len(), window, path, dtype, &self.device)?;
        Ok(View {
            rotation: rope.at(&input.positions, &self.device)?,
            spans: vec![Span { start: 0, len: input.len(), mask }],
        })
    }

    /// Checks the input and records it in the cache. Call it before [`Stage::forward`].
    ///
    /// # Errors
    /// The input is unusable, or exceeds the context length.
    pub fn accept(&self, input: &Input, cache: &mut Cache) -> Result<()> {
        input.check(self.config.vocab_size)?;
        cache.extend(input)
    }
}
