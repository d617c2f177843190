//! From a sound model to one with a mistake in it.

use candle_core::{DType, Device};

use crate::Result;
use crate::model::{Attention, Llama, Matmul};
use crate::models::Model;
use crate::port::{LlamaPort, Port};
use crate::reference::Reference;
use crate::tokenizer::Tokenizer;
use crate::weights::{Config, Weights};

/// A sound model, about to be altered.
pub struct Sound<'a> {
    /// Its files as read.
    pub model: &'a Model,
    /// Loaded, on the path that is judged.
    pub llama: &'a Llama,
}

/// What a model is read from.
pub struct Files {
    /// As parsed.
    pub config: Config,
    /// Tensors by name.
    pub weights: Weights,
    /// Text ↔ ids.
    pub tokenizer: Tokenizer,
}

/// A model with a mistake in it: all that a judge looks at.
pub struct Planted {
    /// What it was read from.
    pub files: Files,
    /// What it computes.
    pub port: Box<dyn Port>,
}

/// What a plant may need of a model, of its cases and of the dtype in order to show.
pub struct Setting<'a> {
    /// The sound model's.
    pub config: &'a Config,
    /// The cases it is judged by.
    pub cases: &'a [Reference],
    /// What it computes in.
    pub dtype: DType,
    /// What it multiplies with.
    pub matmul: Matmul,
}

impl Sound<'_> {
    /// As they are.
    fn files(&self) -> Files {
        let (weights, tokenizer) = (self.model.weights.clone(), self.model.tokenizer.clone());
        Files { config: self.llama.config.clone(), weights, tokenizer }
    }

    /// The path that is judged.
    pub fn path(&self) -> Attention {
        self.llama.path.attention
    }

    /// With parts of the loaded model replaced.
    pub fn altered(&self, alter: impl FnOnce(&mut Llama) -> Result<()>) -> Result<Planted> {
        let mut llama = self.llama.clone();
        alter(&mut llama)?;
        Ok(Planted { files: self.files(), port: Box::new(LlamaPort::new(llama)) })
    }

    /// Driven by something that makes a mistake.
    pub fn driven<P: Port + 'static>(&self, port: impl FnOnce(Llama) -> P) -> Result<Planted> {
        Ok(Planted { files: self.files(), port: Box::new(port(self.llama.clone())) })
    }

    /// Read wrongly: the model is built from what the altered files say.
    pub fn misread(&self, alter: impl FnOnce(&mut Files) -> Result<()>) -> Result<Planted> {
        let mut files = self.files();
        alter(&mut files)?;
        files.weights.set_config(files.config.clone());
        let (device, dtype): (&Device, DType) = (self.llama.device(), self.llama.dtype());
        let llama = Llama::load(&files.weights, device, dtype, self.llama.path)?;
        Ok(Planted { files, port: Box::new(LlamaPort::new(llama)) })
    }
}

impl Setting<'_> {
    /// Is there a batch whose rows are padded on the left?
    pub fn padded_left(&self) -> Result<(), String> {
        let padded = |case: &Reference| case.manifest.padding.as_deref() == Some("left");
        demand(self.cases.iter().any(padded), "no case is a batch padded on the left")
    }

    /// Are its products sums of floats? Others round their activations: float sums in their place would be
    /// another arithmetic.
    pub fn dense(&self) -> Result<(), String> {
        demand(self.matmul == Matmul::Dense, "its products are not sums of floats: --matmul dense shows it")
    }

    /// Is there a batch?
    pub fn batch(&self) -> Result<(), String> {
        demand(self.cases.iter().any(|case| case.batch() > 1), "no case is a batch")
    }
}

/// An error with these words unless `holds`.
pub(super) fn demand(holds: bool, lacks: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(lacks.to_owned()) }
}
