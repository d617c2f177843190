//! Wraps a correct port in a fault: in its caller, or in the tensors that it hands to the probe.

use candle_core::Tensor;

use crate::Result;
use crate::model::Input;
use crate::port::{LlamaPort, Port, Traits};
use crate::probe::{Kind, Probe, Site};

/// A fault around a correct port. The default of each method does the right thing.
pub trait Fault: Send {
    /// Called when a new sequence begins.
    fn begin(&mut self) {}

    /// Changes what the caller feeds.
    fn input(&mut self, input: &Input) -> Input {
        input.clone()
    }

    /// Changes what the correct model computes at `site`. A fault changes the tensor before it hands it to
    /// `probe`, the judge's, and returns the tensor that the judge returned.
    fn tap(&mut self, site: Site, tensor: Tensor, probe: &mut dyn Probe) -> Result<Tensor> {
        probe.tap(site, tensor)
    }

    /// Changes the logits that the caller continues with, `[b, s, vocab]`, after all sites were handed over.
    fn logits(&mut self, logits: Tensor) -> Result<Tensor> {
        Ok(logits)
    }
}

/// A port wrapped in a fault.
pub struct Faulty<F> {
    port: LlamaPort,
    fault: F,
}

impl<F: Fault> Faulty<F> {
    /// Wraps `port` in `fault`.
    pub fn new(port: LlamaPort, fault: F) -> Self {
        Self { port, fault }
    }
}

impl<F: Fault> Port for Faulty<F> {
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

/// The probe that passes the model's tensors through the fault to the judge's probe.
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
