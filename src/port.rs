//! The port under test: what drives a model, and is driven.

use candle_core::{DType, Tensor};

use crate::Result;
use crate::model::{Attention, Cache, Input, Llama, Path};
use crate::probe::{Arithmetic, Kind, Layout, Probe};
use crate::weights::RopeLayout;

/// A model that can be judged: it taps its sites, keeps a cache, and can empty it.
pub trait Port {
    /// What the judge must know of it.
    fn traits(&self) -> Traits;

    /// Forgets everything: the next forward begins a new sequence.
    fn begin(&mut self);

    /// Runs `input` on what the cache holds and appends it there; logits, `[b, s, vocab]`.
    ///
    /// # Errors
    /// Whatever the model refuses; passing its context length must be among it.
    fn forward(&mut self, input: &Input, probe: &mut dyn Probe) -> Result<Tensor>;
}

/// What the judge must know of a port.
#[derive(Clone, Debug)]
pub struct Traits {
    /// The path it takes: `plain`, `fused`, `plain quantized`.
    pub path: &'static str,
    /// What its matrices are multiplied with, and so which truth it is held to.
    pub arithmetic: Arithmetic,
    /// The dtype it computes in.
    pub dtype: DType,
    /// Layers.
    pub layers: usize,
    /// Tokens in the vocabulary.
    pub vocab: usize,
    /// Positions that it can hold.
    pub context: usize,
    /// Kinds that never become a tensor on this path.
    pub hides: &'static [Kind],
    /// Kinds whose last axis does not lie as the reference's.
    pub layouts: Vec<(Kind, Layout)>,
}

impl Traits {
    /// Does this path make such a tensor?
    pub fn shows(&self, kind: Kind) -> bool {
        !self.hides.contains(&kind)
    }

    /// How its tensors of this kind lie.
    pub fn layout(&self, kind: Kind) -> Layout {
        self.layouts.iter().find(|(k, _)| *k == kind).map_or(Layout::Reference, |(_, layout)| layout.clone())
    }
}

/// The project's own Llama, with its cache.
pub struct LlamaPort {
    model: Llama,
    cache: Cache,
}

impl LlamaPort {
    /// With an empty cache.
    pub fn new(model: Llama) -> Self {
        Self { cache: model.new_cache(), model }
    }
}

impl Port for LlamaPort {
    fn traits(&self) -> Traits {
        let config = &self.model.config;
        let Path { attention, .. } = self.model.path;
        let hides: &[Kind] = match attention {
            Attention::Plain => &[],
            Attention::Fused => &[Kind::Scores, Kind::Probs],
        };
        let interleaved = Layout::Interleaved { head_dim: config.head_dim };
        let layouts = match config.rope_layout {
            RopeLayout::HalfSplit => vec![],
            RopeLayout::Interleaved => [Kind::QProj, Kind::KProj, Kind::QRope, Kind::KRope]
                .map(|kind| (kind, interleaved.clone()))
                .into(),
        };
        Traits {
            path: self.model.path.name(),
            arithmetic: self.model.arithmetic,
            dtype: self.model.dtype(),
            layers: config.num_hidden_layers,
            vocab: config.vocab_size,
            context: config.max_position_embeddings,
            hides,
            layouts,
        }
    }

    fn begin(&mut self) {
        self.cache.reset();
    }

    fn forward(&mut self, input: &Input, mut probe: &mut dyn Probe) -> Result<Tensor> {
        self.model.forward(input, &mut self.cache, &mut probe)
    }
}
