//! A recording used as a port: it hands over the recorded tensors again.

use std::borrow::Borrow;

use candle_core::{DType, Device, Tensor};

use super::pass::{Recording, Tensors};
use crate::Result;
use crate::graph;
use crate::model::Input;
use crate::port::{Port, Traits};
use crate::probe::{Kind, Probe};
use crate::weights::Config;

/// A recording that is judged as a forward pass: it hands over the same tensors for any input. It therefore
/// supports one forward pass from an empty cache only; it has no cache, takes no other tokens and returns no
/// logits for generation.
#[derive(Debug)]
pub struct RecordedPort<R> {
    recording: R,
    config: Option<Config>,
    traits: Traits,
}

impl<R: Borrow<Recording>> RecordedPort<R> {
    /// The recording as a port with these traits; the config determines which axes its arrays must have.
    pub fn new(recording: R, config: Option<Config>, traits: Traits) -> Self {
        Self { recording, config, traits }
    }
}

impl Recording {
    /// The traits of the port that this pass was recorded from.
    ///
    /// # Errors
    /// An unknown arithmetic.
    pub fn traits(&self, config: &Config) -> Result<Traits> {
        let layout = |&kind: &Kind| {
            let form = match &self.tensors {
                Tensors::File(stored) => stored.form(kind)?,
                Tensors::Memory(_) => return None,
            };
            Some((kind, self.layout(kind, form, Some(config))))
        };
        Ok(Traits {
            path: "recorded",
            arithmetic: self.arithmetic()?,
            dtype: self.dtype,
            layers: config.num_hidden_layers,
            kinds: graph::of(config)?.kinds(),
            vocab: config.vocab_size,
            context: config.max_position_embeddings,
            hides: self.hides(),
            layouts: Kind::ALL.iter().filter_map(layout).collect(),
        })
    }
}

impl<R: Borrow<Recording> + Send> Port for RecordedPort<R> {
    fn traits(&self) -> Traits {
        self.traits.clone()
    }

    fn begin(&mut self) {}

    fn forward(&mut self, _: &Input, probe: &mut dyn Probe) -> Result<Tensor> {
        let recording = self.recording.borrow();
        for site in recording.sites() {
            if let Some(tensor) = recording.tensor(site, self.config.as_ref())? {
                probe.tap(site, tensor)?;
            }
        }
        // The judge compares what is handed to the probe; the return value matters for generation only.
        Ok(Tensor::zeros((1, 1, 1), DType::F32, &Device::Cpu)?)
    }
}
