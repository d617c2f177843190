//! Turns a correct model into one with a planted mistake.

use candle_core::{DType, Device};

use crate::Result;
use crate::model::{Attention, Llama, Matmul};
use crate::models::Model;
use crate::port::{LlamaPort, Port};
use crate::reference::Reference;
use crate::tokenizer::Tokenizer;
use crate::weights::{Config, LayerType, Weights};

/// A correct model, the starting point of every plant.
pub struct Correct<'a> {
    /// Its files, as read.
    pub model: &'a Model,
    /// The loaded model, on the path that is judged.
    pub llama: &'a Llama,
}

/// The files of a model.
pub struct Files {
    /// The parsed config.
    pub config: Config,
    /// Tensors by name.
    pub weights: Weights,
    /// Text ↔ ids.
    pub tokenizer: Tokenizer,
}

/// A model with a planted mistake: everything that the judge examines.
pub struct Planted {
    /// The files that it was read from.
    pub files: Files,
    /// The port that computes it.
    pub port: Box<dyn Port>,
}

/// The properties of a model and its run that decide whether a plant can show.
pub struct Setting<'a> {
    /// The config of the correct model.
    pub config: &'a Config,
    /// The cases it is judged by.
    pub cases: &'a [Reference],
    /// The dtype in which it computes.
    pub dtype: DType,
    /// How it multiplies matrices.
    pub matmul: Matmul,
}

impl Correct<'_> {
    /// The unchanged files.
    fn files(&self) -> Result<Files> {
        let (weights, tokenizer) = (self.model.weights.clone(), self.model.tokenizer()?.clone());
        Ok(Files { config: self.llama.config.clone(), weights, tokenizer })
    }

    /// The path that is judged.
    pub fn path(&self) -> Attention {
        self.llama.path.attention
    }

    /// Plants a mistake by replacing parts of the loaded model.
    pub fn altered(&self, alter: impl FnOnce(&mut Llama) -> Result<()>) -> Result<Planted> {
        let mut llama = self.llama.clone();
        alter(&mut llama)?;
        Ok(Planted { files: self.files()?, port: Box::new(LlamaPort::new(llama)) })
    }

    /// Plants a mistake with a port that drives the model wrongly.
    pub fn driven<P: Port + 'static>(&self, port: impl FnOnce(Llama) -> P) -> Result<Planted> {
        Ok(Planted { files: self.files()?, port: Box::new(port(self.llama.clone())) })
    }

    /// Plants a mistake of reading: builds the model from altered files.
    pub fn misread(&self, alter: impl FnOnce(&mut Files) -> Result<()>) -> Result<Planted> {
        let mut files = self.files()?;
        alter(&mut files)?;
        files.weights.set_config(files.config.clone());
        let (device, dtype): (&Device, DType) = (self.llama.device(), self.llama.dtype());
        let llama = Llama::load(&files.weights, device, dtype, self.llama.path)?;
        Ok(Planted { files, port: Box::new(LlamaPort::new(llama)) })
    }
}

impl Setting<'_> {
    /// Requires a case that is a batch padded on the left.
    pub fn padded_left(&self) -> Result<(), String> {
        let padded = |case: &Reference| case.manifest.padding.as_deref() == Some("left");
        demand(self.cases.iter().any(padded), "no case is a batch padded on the left")
    }

    /// Requires products that are sums of floats. Quantised products round their activations; float sums in
    /// their place would be another arithmetic.
    pub fn dense(&self) -> Result<(), String> {
        demand(
            self.matmul == Matmul::Dense,
            "this path's products are not sums of floats: use --matmul dense",
        )
    }

    /// Requires a case that is longer than the window.
    pub fn filled_window(&self) -> Result<(), String> {
        let longest = self.cases.iter().map(Reference::length).max().unwrap_or(0);
        let full = self.config.sliding_window.is_some_and(|window| window < longest);
        demand(full, "this model has no sliding window that a case fills")
    }

    /// Requires a case that is a batch.
    pub fn batch(&self) -> Result<(), String> {
        demand(self.cases.iter().any(|case| case.batch() > 1), "no case is a batch")
    }
}

/// The first layer of this type; the number of layers, if there is none.
pub(super) fn first_layer(config: &Config, layer_type: LayerType) -> usize {
    let layers = config.num_hidden_layers;
    (0..layers).find(|&layer| config.layer_type(layer) == layer_type).unwrap_or(layers)
}

/// Returns `lacks` as the error unless `holds`.
pub(super) fn demand(holds: bool, lacks: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(lacks.to_owned()) }
}
