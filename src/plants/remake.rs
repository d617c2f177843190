//! Replaces the tensor of a site by one that is computed wrongly from the same inputs.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::faulty::{Fault, Faulty};
use crate::Result;
use crate::model::{Input, Llama};
use crate::port::LlamaPort;
use crate::probe::{Kind, Probe, Site};

/// The tensors handed over so far in this forward pass, and its input.
pub struct PassSoFar {
    /// The last tensor of each kind that the model continued with.
    tensors: BTreeMap<Kind, Tensor>,
    /// What the caller fed.
    pub input: Input,
}

impl PassSoFar {
    /// The last tensor of `kind` that was handed over.
    pub fn last(&self, kind: Kind) -> Option<&Tensor> {
        self.tensors.get(&kind)
    }

    /// The input of the current block: the output of the block before it, or the embedding.
    pub fn stream(&self) -> Option<&Tensor> {
        self.last(Kind::Block).or(self.last(Kind::Embed))
    }
}

/// The fault that replaces a site's tensor by the result of `make`; where `make` returns `None`, the tensor
/// stays.
pub struct Remake<F> {
    pass: PassSoFar,
    make: F,
}

/// The port of `llama` with the tensors that `make` returns in place of its own.
pub fn remade<F>(llama: Llama, make: F) -> Faulty<Remake<F>>
where
    F: FnMut(&PassSoFar, Site, &Tensor) -> Result<Option<Tensor>> + Send,
{
    let pass = PassSoFar { tensors: BTreeMap::new(), input: Input::single(&[], 0) };
    Faulty::new(LlamaPort::new(llama), Remake { pass, make })
}

impl<F> Fault for Remake<F>
where
    F: FnMut(&PassSoFar, Site, &Tensor) -> Result<Option<Tensor>> + Send,
{
    fn input(&mut self, input: &Input) -> Input {
        self.pass.tensors.clear();
        self.pass.input = input.clone();
        input.clone()
    }

    fn tap(&mut self, site: Site, tensor: Tensor, probe: &mut dyn Probe) -> Result<Tensor> {
        let tensor = (self.make)(&self.pass, site, &tensor)?.unwrap_or(tensor);
        let tensor = probe.tap(site, tensor)?;
        self.pass.tensors.insert(site.kind, tensor.clone());
        Ok(tensor)
    }
}
