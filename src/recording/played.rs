//! A recording as a port: it hands over once more what was recorded.

use std::borrow::Borrow;

use candle_core::{DType, Device, Tensor};

use super::pass::{Recording, Tensors};
use crate::Result;
use crate::model::Input;
use crate::port::{Port, Traits};
use crate::probe::{Kind, Probe};
use crate::weights::Config;

/// A recording that is judged as the pass that it was: whatever it is fed, it hands over the same. So it has what
/// one forward from an empty cache shows, and no cache, no other tokens and no logits to generate from.
#[derive(Debug)]
pub struct Played<R> {
    recording: R,
    config: Option<Config>,
    traits: Traits,
}

impl<R: Borrow<Recording>> Played<R> {
    /// Of a port with these traits; the config says which axes its arrays must have.
    pub fn new(recording: R, config: Option<Config>, traits: Traits) -> Self {
        Self { recording, config, traits }
    }
}

impl Recording {
    /// What the judge must know of the port that this pass was recorded of.
    ///
    /// # Errors
    /// An arithmetic that is not known.
    pub fn traits(&self, config: &Config) -> Result<Traits> {
        let layout = |&kind: &Kind| {
            let form = match &self.tensors {
                Tensors::File(stored) => stored.form(kind)?,
                Tensors::Memory(_) => return None,
            };
            Some((kind, self.layout(kind, form, Some(config.head_dim))))
        };
        Ok(Traits {
            path: "recorded",
            arithmetic: self.arithmetic()?,
            dtype: self.dtype,
            layers: config.num_hidden_layers,
            vocab: config.vocab_size,
            context: config.max_position_embeddings,
            hides: self.hides(),
            layouts: Kind::ALL.iter().filter_map(layout).collect(),
        })
    }
}

impl<R: Borrow<Recording>> Port for Played<R> {
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
        // The judge compares what is tapped; what comes back counts for generation only.
        Ok(Tensor::zeros((1, 1, 1), DType::F32, &Device::Cpu)?)
    }
}
