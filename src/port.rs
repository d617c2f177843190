//! The port under test: a model that the judge can drive.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use crate::Result;
use crate::engine::{Opened, Sampled, Scheduler, Watched};
use crate::model::{Attention, Cache, Input, Llama, Path};
use crate::probe::{Arithmetic, Kind, Kinds, Layout, Probe, Site};
use crate::weights::{Config, RopeLayout};

/// A model that can be judged: it hands its sites to a probe, keeps a cache, and can empty it.
pub trait Port: Send {
    /// What the judge must know about the port.
    fn traits(&self) -> Traits;

    /// Empties the cache: the next forward pass begins a new sequence.
    fn begin(&mut self);

    /// Runs `input` after the tokens in the cache, appends it to the cache, and returns the logits, `[b, s,
    /// vocab]`.
    ///
    /// # Errors
    /// The model refuses the input. It must refuse an input that exceeds its context length.
    fn forward(&mut self, input: &Input, probe: &mut dyn Probe) -> Result<Tensor>;

    /// The port's scheduler without sequences, if it can run several in one step. A prompt goes through the model in
    /// pieces of `piece` tokens. If there is none, the laws of shared steps are not judged.
    fn shared_steps(&self, piece: usize) -> Option<Box<dyn SharedSteps>> {
        let _ = piece;
        None
    }
}

/// Several sequences that share steps, as in an inference server. Tokens are given, not sampled.
pub trait SharedSteps: Send {
    /// Starts a sequence with these tokens. It may begin with a kept cache.
    ///
    /// # Errors
    /// The tokens are refused.
    fn open(&mut self, ids: &[u32]) -> Result<Opened>;

    /// Appends a token to a sequence that has fed all its tokens.
    ///
    /// # Errors
    /// There is no such sequence, or its context is full.
    fn push(&mut self, sequence: usize, id: u32) -> Result<()>;

    /// Ends a sequence, and keeps its cache for others.
    fn close(&mut self, sequence: usize);

    /// Runs one step: a piece of each prompt, and a token of every other sequence that has one. Returns the logits of
    /// each sequence whose tokens are all fed. The probe receives the sites of the sequence `watched`, as if it ran
    /// alone, with one row of logits if it has some.
    ///
    /// # Errors
    /// The model fails.
    fn step(&mut self, watched: usize, probe: &mut dyn Probe) -> Result<Vec<Sampled>>;

    /// Whether the numbers of a sequence must be the same bits, whatever other sequences share its steps.
    fn repeats_bits(&self) -> bool;
}

/// What the judge must know about a port.
#[derive(Clone, Debug)]
pub struct Traits {
    /// The path it takes: `plain`, `fused`, `plain quantized`.
    pub path: &'static str,
    /// The arithmetic of its matrix products, which selects the reference that it is compared with.
    pub arithmetic: Arithmetic,
    /// The dtype it computes in.
    pub dtype: DType,
    /// The number of layers.
    pub layers: usize,
    /// The kinds of site that the model has, whatever the path creates.
    pub kinds: Kinds,
    /// The number of tokens in the vocabulary.
    pub vocab: usize,
    /// The context length, in positions.
    pub context: usize,
    /// Kinds for which this path never creates a tensor.
    pub hides: &'static [Kind],
    /// Kinds whose last axis has another layout than the reference's.
    pub layouts: Vec<(Kind, Layout)>,
}

impl Traits {
    /// Whether this path creates a tensor of this kind.
    pub fn shows(&self, kind: Kind) -> bool {
        !self.hides.contains(&kind)
    }

    /// The sites that `site` is computed from.
    pub fn inputs(&self, site: Site) -> Vec<Site> {
        site.inputs(self.layers, self.kinds)
    }

    /// The layout of its tensors of this kind.
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
    /// Makes a port with an empty cache.
    pub fn new(model: Llama) -> Self {
        Self { cache: model.new_cache(), model }
    }
}

impl Port for LlamaPort {
    fn traits(&self) -> Traits {
        let kinds = self.model.kinds();
        Traits::of_llama(
            &self.model.config,
            kinds,
            self.model.path,
            self.model.arithmetic,
            self.model.dtype(),
        )
    }

    fn begin(&mut self) {
        self.cache.reset();
    }

    fn forward(&mut self, input: &Input, mut probe: &mut dyn Probe) -> Result<Tensor> {
        self.model.forward(input, &mut self.cache, &mut probe)
    }

    fn shared_steps(&self, piece: usize) -> Option<Box<dyn SharedSteps>> {
        Some(Box::new(scheduler(&self.model, piece)))
    }
}

/// The scheduler of the project's engine, for the judge: steps have room for every sequence, and any common beginning of
/// two texts is reused.
pub(crate) fn scheduler(model: &Llama, piece: usize) -> Scheduler {
    let mut scheduler = Scheduler::new(Arc::new(model.clone()), piece, usize::MAX);
    scheduler.worth = 1;
    scheduler
}

impl SharedSteps for Scheduler {
    fn open(&mut self, ids: &[u32]) -> Result<Opened> {
        self.open(ids)
    }

    fn push(&mut self, sequence: usize, id: u32) -> Result<()> {
        self.push(sequence, id)
    }

    fn close(&mut self, sequence: usize) {
        let kept = self.close(sequence);
        self.kept.extend(kept);
    }

    fn step(&mut self, watched: usize, probe: &mut dyn Probe) -> Result<Vec<Sampled>> {
        let plan = self.plan();
        self.run(&plan, &mut Watched::new(&plan, watched, probe))
    }

    fn repeats_bits(&self) -> bool {
        self.model.repeats_bits()
    }
}

impl Traits {
    /// Those of the project's own Llama.
    pub(crate) fn of_llama(
        config: &Config,
        kinds: Kinds,
        path: Path,
        arithmetic: Arithmetic,
        dtype: DType,
    ) -> Self {
        let Path { attention, .. } = path;
        let hides: &[Kind] = match attention {
            Attention::Plain => &[],
            Attention::Fused => &[Kind::Scores, Kind::Probs],
        };
        let interleaved = Layout::Interleaved { head_dim: config.head_dim };
        let layouts = match config.rope_layout {
            RopeLayout::HalfSplit => vec![],
            RopeLayout::Interleaved => {
                let kinds = Kind::ALL.iter().filter(|kind| kind.has_rotated_columns());
                kinds.map(|&kind| (kind, interleaved.clone())).collect()
            }
        };
        Traits {
            path: path.name(),
            arithmetic,
            dtype,
            layers: config.num_hidden_layers,
            kinds,
            vocab: config.vocab_size,
            context: config.max_position_embeddings,
            hides,
            layouts,
        }
    }
}
