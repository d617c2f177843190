//! Tests of the judge on a correct Llama, tiny-llama, that is modified at one site.

mod convention;
mod drives;
mod explain;
mod facts;
mod gate;
mod greedy;
mod laws;
mod left_over;
mod noise;
mod outcomes;
mod quantized;
mod rows;
mod sampling;
mod single;
mod sites;
mod watch;

use candle_core::{DType, Device, Tensor};

use super::{LlamaPort, ModelFacts, Outcome, Port, Status, Subject, Traits, run};
use crate::checkpoints;
use crate::model::{Attention, Input, Llama, Path};
use crate::models::{self, Model};
use crate::probe::{Kind, Probe, Site};
use crate::{Error, Result};

/// Changes the tensor that is handed over; returns `None` to hand nothing over.
type Bend = Box<dyn Fn(Site, Tensor) -> Result<Option<Tensor>> + Send>;

/// A correct port whose sites go through `bend` before they reach the judge.
struct Bent {
    port: LlamaPort,
    bend: Bend,
}

impl Port for Bent {
    fn traits(&self) -> Traits {
        self.port.traits()
    }

    fn begin(&mut self) {
        self.port.begin();
    }

    fn forward(&mut self, input: &Input, probe: &mut dyn Probe) -> Result<Tensor> {
        self.port.forward(input, &mut Bending { bend: &self.bend, probe })
    }
}

struct Bending<'a> {
    bend: &'a Bend,
    probe: &'a mut dyn Probe,
}

impl Probe for Bending<'_> {
    fn wants(&self, _: Kind) -> bool {
        true
    }

    fn tap(&mut self, site: Site, tensor: Tensor) -> Result<Tensor> {
        if !self.probe.wants(site.kind) {
            return Ok(tensor); // a port may skip sites that are not wanted
        }
        match (self.bend)(site, tensor.clone())? {
            Some(bent) => {
                let back = self.probe.tap(site, bent)?;
                let fits = back.dims() == tensor.dims() && back.dtype() == tensor.dtype();
                Ok(if fits { back } else { tensor }) // the port continues with its own tensor
            }
            None => Ok(tensor),
        }
    }
}

fn site(name: &str) -> Site {
    name.parse().unwrap()
}

fn tiny() -> Model {
    models::open("tiny-llama").expect("tiny-llama is compiled in")
}

fn llama(model: &Model, path: impl Into<Path>) -> Llama {
    Llama::load(&model.weights, &Device::Cpu, DType::F32, path.into()).unwrap()
}

/// tiny-llama with `cases` and its facts, but without a port.
fn subject<'a>(model: &'a Model, cases: &[&str]) -> Subject<'a> {
    let cases: Vec<String> = cases.iter().map(|case| case.to_string()).collect();
    Subject::new(model, &cases, &Device::Cpu, DType::F32, &[] as &[Attention]).unwrap()
}

/// The outcome of checkpoint `id` for a port with this modification.
fn judged(id: &str, path: Attention, bend: Bend) -> Outcome {
    let model = tiny();
    let mut subject = subject(&model, &["short"]);
    subject.ports = vec![Box::new(Bent { port: LlamaPort::new(llama(&model, path)), bend })];
    run(&mut subject, checkpoints::find(id).unwrap()).unwrap()
}

fn unbent() -> Bend {
    Box::new(|_, tensor| Ok(Some(tensor)))
}

/// Applies `change` at one site only.
fn at(name: &str, change: impl Fn(Tensor) -> Result<Option<Tensor>> + Send + 'static) -> Bend {
    let place = site(name);
    Box::new(move |site, tensor| if site == place { change(tensor) } else { Ok(Some(tensor)) })
}

/// `tensor` with `by` added to its element `i` in memory order.
fn nudged(tensor: &Tensor, i: usize, by: f32) -> Result<Tensor> {
    let mut values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
    values[i] += by;
    Ok(Tensor::from_vec(values, tensor.shape(), &Device::Cpu)?)
}

/// The names of the failures, in the order in which they were judged.
fn wrong(outcome: &Outcome) -> Vec<&str> {
    outcome.failures().map(|f| f.about.as_str()).collect()
}
