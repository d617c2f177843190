//! Planted mistake of a caller that keeps no cache: row 8 of the catalogue.

use candle_core::Tensor;

use super::plant::{PLANT, Plant};
use crate::Result;
use crate::model::Input;
use crate::port::{LlamaPort, Port, Traits};
use crate::probe::{Kind, Probe, Site};

pub const PLANTS: &[Plant] = &[Plant {
    name: "uncached-position",
    does: "keeps no cache, feeds the whole text again at each step, and continues to count positions up",
    make: |correct| correct.driven(|llama| Uncached { port: LlamaPort::new(llama), text: None, fed: 0 }),
    fails: &["04"],
    first: Some("model.layers.0.self_attn.q_rope"),
    ..PLANT
}];

struct Uncached {
    port: LlamaPort,
    /// The sequence so far.
    text: Option<Input>,
    /// The number of tokens fed since the sequence began; repeated tokens count each time.
    fed: usize,
}

impl Port for Uncached {
    fn traits(&self) -> Traits {
        self.port.traits()
    }

    fn begin(&mut self) {
        (self.text, self.fed) = (None, 0);
    }

    fn forward(&mut self, input: &Input, probe: &mut dyn Probe) -> Result<Tensor> {
        let text = match self.text.take() {
            None => input.clone(),
            Some(before) => joined(before, input),
        };
        let mut late = text.clone();
        late.positions.iter_mut().flatten().for_each(|position| *position += self.fed);
        self.fed += text.len();
        self.text = Some(text);

        self.port.begin();
        let logits = self.port.forward(&late, &mut Tail { probe, rows: input.len() })?; // [b, text, vocab]
        Ok(logits.narrow(1, late.len() - input.len(), input.len())?)
    }
}

fn joined(mut before: Input, new: &Input) -> Input {
    fn append<T: Clone>(rows: &mut [Vec<T>], new: &[Vec<T>]) {
        rows.iter_mut().zip(new).for_each(|(row, new)| row.extend_from_slice(new));
    }
    append(&mut before.ids, &new.ids);
    append(&mut before.positions, &new.positions);
    append(&mut before.real, &new.real);
    before
}

/// Hands the judge only the last rows, those that it asked for.
struct Tail<'a> {
    probe: &'a mut dyn Probe,
    rows: usize,
}

impl Probe for Tail<'_> {
    fn wants(&self, kind: Kind) -> bool {
        self.probe.wants(kind)
    }

    fn tap(&mut self, site: Site, tensor: Tensor) -> Result<Tensor> {
        let axis = if site.kind.by_head() { 2 } else { 1 };
        let before = tensor.dim(axis)? - self.rows;
        if before == 0 {
            return self.probe.tap(site, tensor);
        }
        let last = self.probe.tap(site, tensor.narrow(axis, before, self.rows)?.contiguous()?)?;
        Ok(Tensor::cat(&[&tensor.narrow(axis, 0, before)?.contiguous()?, &last], axis)?)
    }
}
