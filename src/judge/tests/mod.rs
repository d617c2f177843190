//! What the judge says of a port that is bent at one place: a sound Llama, tiny, on one short case.

mod convention;
mod drives;
mod explain;
mod facts;
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

/// What is handed over instead of a tensor; nothing for a site that is kept to itself.
type Bend = Box<dyn Fn(Site, Tensor) -> Result<Option<Tensor>>>;

/// A sound port whose sites go through `bend` on their way to the judge.
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
            return Ok(tensor); // as a port may that saves itself the work
        }
        match (self.bend)(site, tensor.clone())? {
            Some(bent) => {
                let back = self.probe.tap(site, bent)?;
                let fits = back.dims() == tensor.dims() && back.dtype() == tensor.dtype();
                Ok(if fits { back } else { tensor }) // the port goes on in its own
            }
            None => Ok(tensor),
        }
    }
}

fn site(name: &str) -> Site {
    name.parse().unwrap()
}

fn tiny() -> Model {
    models::open("tiny-llama").expect("it is compiled in")
}

fn llama(model: &Model, path: impl Into<Path>) -> Llama {
    Llama::load(&model.weights, &Device::Cpu, DType::F32, path.into()).unwrap()
}

/// What is said of tiny-llama on `cases`, with its facts, and of no port yet.
fn subject<'a>(model: &'a Model, cases: &[&str]) -> Subject<'a> {
    let cases: Vec<String> = cases.iter().map(|case| case.to_string()).collect();
    Subject::new(model, &cases, &Device::Cpu, DType::F32, &[] as &[Attention]).unwrap()
}

/// What checkpoint `id` says of a port that is bent so.
fn judged(id: &str, path: Attention, bend: Bend) -> Outcome {
    let model = tiny();
    let mut subject = subject(&model, &["short"]);
    subject.ports = vec![Box::new(Bent { port: LlamaPort::new(llama(&model, path)), bend })];
    run(&mut subject, checkpoints::find(id).unwrap()).unwrap()
}

fn unbent() -> Bend {
    Box::new(|_, tensor| Ok(Some(tensor)))
}

/// `change` at one site, and nothing elsewhere.
fn at(name: &str, change: impl Fn(Tensor) -> Result<Option<Tensor>> + 'static) -> Bend {
    let place = site(name);
    Box::new(move |site, tensor| if site == place { change(tensor) } else { Ok(Some(tensor)) })
}

/// `tensor` with `by` added to its element `i` in memory order.
fn nudged(tensor: &Tensor, i: usize, by: f32) -> Result<Tensor> {
    let mut values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
    values[i] += by;
    Ok(Tensor::from_vec(values, tensor.shape(), &Device::Cpu)?)
}

/// What failed: its names, in the order in which it was judged.
fn wrong(outcome: &Outcome) -> Vec<&str> {
    outcome.failures().map(|f| f.about.as_str()).collect()
}
