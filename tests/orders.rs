//! A correct port may sum in another order than Candle. It must stay under half of every budget.
//!
//! The tests recompute every matrix product of the model by plain float32 loops in three orders.

use std::process::ExitCode;

use candle_core::{DType, Device, Tensor};
use libtest_mimic::{Arguments, Failed, Trial};
use rbees_check::checkpoints::{self, How};
use rbees_check::judge::{self, LlamaPort, Port, Status, Subject, Traits, Verdict};
use rbees_check::model::{Attention, Input, Llama};
use rbees_check::probe::{Kind, Probe, Site};
use rbees_check::{Result, models};

/// x · w, both `[n]`.
type Dot = fn(&[f32], &[f32]) -> f32;

const ORDERS: [(&str, Dot); 3] = [
    ("first_to_last", |x, w| x.iter().zip(w).fold(0.0, |sum, (x, w)| sum + x * w)),
    ("last_to_first_fused", |x, w| x.iter().zip(w).rev().fold(0.0, |sum, (x, w)| x.mul_add(*w, sum))),
    ("in_eight_lanes", |x, w| {
        let mut lanes = [0f32; 8];
        for (x, w) in x.chunks(8).zip(w.chunks(8)) {
            x.iter().zip(w).zip(&mut lanes).for_each(|((x, w), lane)| *lane += x * w);
        }
        lanes.iter().sum()
    }),
];

fn main() -> ExitCode {
    let args = Arguments::from_args();
    let mut trials = Vec::new();
    for model in models::NAMES {
        let absent = models::open(model).is_err();
        for (order, dot) in ORDERS {
            let name = format!(
                "products_summed_{order}_stay_under_half_of_every_budget::{}",
                model.replace('-', "_")
            );
            trials.push(Trial::test(name, move || under_half(model, dot)).with_ignored_flag(absent));
        }
    }
    libtest_mimic::run(&args, trials).exit_code()
}

fn under_half(model: &str, dot: Dot) -> Result<(), Failed> {
    let model = models::open(model)?;
    let mut subject = Subject::new(&model, &["short".into()], &Device::Cpu, DType::F32, &[] as &[Attention])?;
    let llama = Llama::load(&model.weights, &Device::Cpu, DType::F32, Attention::Plain)?;
    subject.ports = vec![Box::new(Reordered { llama: llama.clone(), port: LlamaPort::new(llama), dot })];
    for checkpoint in checkpoints::ALL.into_iter().filter(|c| matches!(c.how, How::Sites(..))) {
        let outcome = judge::run(&mut subject, checkpoint)?;
        let worst = outcome.worst().ok_or("no site was judged")?;
        match worst.verdict {
            Verdict::Pass(share) if outcome.status() == Status::Passed && share < 0.5 => {
                println!("{} {:.0}% at {}", checkpoint.id, share * 100.0, worst.about);
            }
            _ => return Err(format!("{}: {} {:?}", checkpoint.id, worst.about, worst.verdict).into()),
        }
    }
    Ok(())
}

/// This project's Llama with every matrix product recomputed in another order of summation.
struct Reordered {
    llama: Llama,
    port: LlamaPort,
    dot: Dot,
}

impl Port for Reordered {
    fn traits(&self) -> Traits {
        self.port.traits()
    }

    fn begin(&mut self) {
        self.port.begin();
    }

    fn forward(&mut self, input: &Input, probe: &mut dyn Probe) -> Result<Tensor> {
        let mut again = Again { llama: &self.llama, probe, dot: self.dot, input: None };
        self.port.forward(input, &mut again)
    }
}

struct Again<'a> {
    llama: &'a Llama,
    probe: &'a mut dyn Probe,
    dot: Dot,
    /// The input of the next products.
    input: Option<Tensor>,
}

impl Probe for Again<'_> {
    fn wants(&self, kind: Kind) -> bool {
        self.probe.wants(kind)
    }

    fn tap(&mut self, site: Site, tensor: Tensor) -> Result<Tensor> {
        let block = site.layer.map(|layer| &self.llama.layers[usize::from(layer)]);
        let linear = match (block, site.kind) {
            (Some(block), Kind::QProj) => Some(&block.self_attn.q_proj),
            (Some(block), Kind::KProj) => Some(&block.self_attn.k_proj),
            (Some(block), Kind::VProj) => Some(&block.self_attn.v_proj),
            (Some(block), Kind::OProj) => Some(&block.self_attn.o_proj),
            (Some(block), Kind::Gate) => Some(&block.mlp.gate_proj),
            (Some(block), Kind::Up) => Some(&block.mlp.up_proj),
            (Some(block), Kind::Down) => Some(&block.mlp.down_proj),
            (None, Kind::Logits) => Some(&self.llama.lm_head),
            _ => None,
        };
        let tensor = match (linear, &self.input) {
            (Some(linear), Some(input)) => {
                linear.biased(product(input, linear.floats().unwrap(), self.dot)?)?
            }
            _ => tensor,
        };
        let tensor = self.probe.tap(site, tensor)?;
        let read_by_a_product = [
            Kind::InputNorm,
            Kind::Context,
            Kind::PostNorm,
            Kind::FfnNorm, // in families that norm the attention's output by the norm before it
            Kind::Act,
            Kind::FinalNorm,
        ];
        if read_by_a_product.contains(&site.kind) {
            self.input = Some(tensor.clone());
        }
        Ok(tensor)
    }
}

/// `[b, s, in]` by `[out, in]` → `[b, s, out]`.
fn product(x: &Tensor, weight: &Tensor, dot: Dot) -> Result<Tensor> {
    let ((b, s, width), (out, _)) = (x.dims3()?, weight.dims2()?);
    let (x, weight): (Vec<f32>, Vec<f32>) = (x.flatten_all()?.to_vec1()?, weight.flatten_all()?.to_vec1()?);
    let row = |x: &[f32]| -> Vec<f32> { weight.chunks(width).map(|w| dot(x, w)).collect() };
    let values: Vec<f32> = x.chunks(width).flat_map(row).collect();
    Ok(Tensor::from_vec(values, (b, s, out), &Device::Cpu)?)
}
