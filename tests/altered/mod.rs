//! Correct ports wrapped with a planted mistake, and helpers that judge them.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use rbees_check::judge::{self, LlamaPort, Outcome, Port, Subject, Traits};
use rbees_check::model::{Attention, Input, Llama};
use rbees_check::models::{self, Model};
use rbees_check::probe::{Probe, Site};
use rbees_check::{Result, checkpoints};

/// Replaces the tensor of a site, given all tensors that the model computed before it. `None` keeps the
/// tensor.
pub type Instead = fn(Site, &Tensor, &BTreeMap<Site, Tensor>) -> Result<Option<Tensor>>;

/// A correct port with changed tensors, or with positions that are `shift` too high.
pub struct Altered {
    pub port: LlamaPort,
    /// Changes a tensor before the judge sees it.
    pub before: Instead,
    /// As `before`, but applied after the judge has seen the tensor.
    pub behind: Instead,
    pub shift: usize,
}

pub fn nothing(_: Site, _: &Tensor, _: &BTreeMap<Site, Tensor>) -> Result<Option<Tensor>> {
    Ok(None)
}

impl Port for Altered {
    fn traits(&self) -> Traits {
        self.port.traits()
    }

    fn begin(&mut self) {
        self.port.begin();
    }

    fn forward(&mut self, input: &Input, probe: &mut dyn Probe) -> Result<Tensor> {
        let mut input = input.clone();
        input.positions.iter_mut().flatten().for_each(|position| *position += self.shift);
        let (before, behind, seen) = (self.before, self.behind, BTreeMap::new());
        self.port.forward(&input, &mut AlteringProbe { probe, before, behind, seen })
    }
}

struct AlteringProbe<'a> {
    probe: &'a mut dyn Probe,
    before: Instead,
    behind: Instead,
    seen: BTreeMap<Site, Tensor>,
}

impl Probe for AlteringProbe<'_> {
    fn wants(&self, _: rbees_check::probe::Kind) -> bool {
        true
    }

    fn tap(&mut self, site: Site, tensor: Tensor) -> Result<Tensor> {
        let handed = (self.before)(site, &tensor, &self.seen)?.unwrap_or(tensor);
        let back = self.probe.tap(site, handed)?;
        let back = (self.behind)(site, &back, &self.seen)?.unwrap_or(back);
        self.seen.insert(site, back.clone());
        Ok(back)
    }
}

pub fn tiny() -> Model {
    models::open("tiny-llama").expect("tiny-llama is compiled in")
}

pub fn llama(model: &Model, path: Attention) -> Llama {
    Llama::load(&model.weights, &Device::Cpu, DType::F32, path).unwrap()
}

pub fn unaltered(llama: Llama) -> Altered {
    Altered { port: LlamaPort::new(llama), before: nothing, behind: nothing, shift: 0 }
}

/// The outcomes of the checkpoints `ids` for `port` on the case `short`.
pub fn judged(model: &Model, port: Altered, ids: &[&str]) -> Vec<Outcome> {
    let mut subject =
        Subject::new(model, &["short".into()], &Device::Cpu, DType::F32, &[] as &[Attention]).unwrap();
    subject.ports = vec![Box::new(port)];
    ids.iter().map(|id| judge::run(&mut subject, checkpoints::find(id).unwrap()).unwrap()).collect()
}

/// The mistakes that the outcomes name, without consecutive repeats.
pub fn named(outcomes: &[Outcome]) -> Vec<&'static str> {
    let mut all: Vec<_> = outcomes.iter().flat_map(Outcome::named).map(|named| named.mistake).collect();
    all.dedup();
    all
}
