//! A site computed again, wrongly, from what it is computed from.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::around::{Around, Fault};
use crate::Result;
use crate::model::{Input, Llama};
use crate::port::LlamaPort;
use crate::probe::{Kind, Probe, Site};

/// What has passed so far in this forward, and what it was fed.
pub struct Seen {
    /// The last tensor of each kind, as the model went on with it.
    tensors: BTreeMap<Kind, Tensor>,
    /// What the caller fed.
    pub input: Input,
}

impl Seen {
    /// The last tensor of `kind` that passed.
    pub fn last(&self, kind: Kind) -> Option<&Tensor> {
        self.tensors.get(&kind)
    }

    /// What a block begins with: the block before it, or the embedding.
    pub fn stream(&self) -> Option<&Tensor> {
        self.last(Kind::Block).or(self.last(Kind::Embed))
    }
}

/// Puts what `make` makes in the place of a site: nothing where it makes none.
pub struct Remake<F> {
    seen: Seen,
    make: F,
}

/// The port of `llama` with the sites that `make` makes computed by it.
pub fn remade<F>(llama: Llama, make: F) -> Around<Remake<F>>
where
    F: FnMut(&Seen, Site, &Tensor) -> Result<Option<Tensor>>,
{
    let seen = Seen { tensors: BTreeMap::new(), input: Input::single(&[], 0) };
    Around::new(LlamaPort::new(llama), Remake { seen, make })
}

impl<F> Fault for Remake<F>
where
    F: FnMut(&Seen, Site, &Tensor) -> Result<Option<Tensor>>,
{
    fn input(&mut self, input: &Input) -> Input {
        self.seen.tensors.clear();
        self.seen.input = input.clone();
        input.clone()
    }

    fn tap(&mut self, site: Site, tensor: Tensor, probe: &mut dyn Probe) -> Result<Tensor> {
        let tensor = (self.make)(&self.seen, site, &tensor)?.unwrap_or(tensor);
        let tensor = probe.tap(site, tensor)?;
        self.seen.tensors.insert(site.kind, tensor.clone());
        Ok(tensor)
    }
}
