//! A sound port with something wrong around it: in its caller, or where its tensors pass.

use candle_core::Tensor;

use crate::Result;
use crate::model::Input;
use crate::port::{LlamaPort, Port, Traits};
use crate::probe::{Kind, Probe, Site};

/// Something wrong around a sound port. Each part does the right thing unless it is replaced.
pub trait Fault {
    /// A new sequence begins.
    fn begin(&mut self) {}

    /// What the caller was to feed → what it feeds.
    fn input(&mut self, input: &Input) -> Input {
        input.clone()
    }

    /// What the sound model computes at `site` → what it goes on with. The mistake is made before
    /// the judge looks, through `probe`, and what the judge gives back is kept.
    fn tap(&mut self, site: Site, tensor: Tensor, probe: &mut dyn Probe) -> Result<Tensor> {
        probe.tap(site, tensor)
    }

    /// The logits that the caller goes on with, `[b, s, vocab]`, once all sites have passed.
    fn logits(&mut self, logits: Tensor) -> Result<Tensor> {
        Ok(logits)
    }
}

/// A port with a fault around it.
pub struct Around<F> {
    port: LlamaPort,
    fault: F,
}

impl<F: Fault> Around<F> {
    /// Puts `fault` around `port`.
    pub fn new(port: LlamaPort, fault: F) -> Self {
        Self { port, fault }
    }
}

impl<F: Fault> Port for Around<F> {
    fn traits(&self) -> Traits {
        self.port.traits()
    }

    fn begin(&mut self) {
        self.port.begin();
        self.fault.begin();
    }

    fn forward(&mut self, input: &Input, probe: &mut dyn Probe) -> Result<Tensor> {
        let input = self.fault.input(input);
        let logits = self.port.forward(&input, &mut Between { fault: &mut self.fault, probe })?;
        self.fault.logits(logits)
    }
}

/// Stands between the model and the judge's probe.
struct Between<'a, F> {
    fault: &'a mut F,
    probe: &'a mut dyn Probe,
}

impl<F: Fault> Probe for Between<'_, F> {
    fn wants(&self, kind: Kind) -> bool {
        self.probe.wants(kind)
    }

    fn tap(&mut self, site: Site, tensor: Tensor) -> Result<Tensor> {
        self.fault.tap(site, tensor, self.probe)
    }
}
