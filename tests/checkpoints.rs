//! Every checkpoint × case as a test of its own name: `checkpoint_03_attention::tiny_llama::short`;
//! some also in half precision and on quantised products: `checkpoint_02_qkv::tiny_llama_q8_0::short::quantized::bf16`.
//!
//! A real model's tests run when its weights are there; otherwise they are listed as ignored.

use std::process::ExitCode;

use candle_core::{DType, Device};
use libtest_mimic::{Arguments, Failed, Trial};
use rbees_check::checkpoints::{self, Checkpoint, How};
use rbees_check::judge::{self, Status, Subject};
use rbees_check::model::{Attention, Matmul, Path};
use rbees_check::{models, report};

const MODELS: [&str; 4] = ["tiny-llama", "tiny-llama2", "tiny-llama:q8_0", "smollm2-135m"];

const ATTENTIONS: [Attention; 2] = [Attention::Plain, Attention::Fused];

const DTYPES: [DType; 3] = [DType::F32, DType::BF16, DType::F16];

fn main() -> ExitCode {
    let args = Arguments::from_args();
    let trials = MODELS.into_iter().flat_map(trials).collect();
    libtest_mimic::run(&args, trials).exit_code()
}

/// What a test is about.
#[derive(Clone, Debug)]
struct About {
    model: &'static str,
    checkpoint: &'static Checkpoint,
    /// One, or several that are judged together; none where the model as a whole is judged.
    cases: Vec<String>,
    dtype: DType,
    matmul: Matmul,
}

impl About {
    /// `checkpoint_03_attention::tiny_llama::short`, and what differs from dense f32.
    fn name(&self) -> String {
        let place = |name: &str| name.replace(['-', ':'], "_");
        let id = self.checkpoint.constant_name().to_lowercase();
        let case = match &self.cases[..] {
            [] => "model".to_owned(),
            [case] => place(case),
            _ => "all_cases".to_owned(),
        };
        let dtype = if self.dtype == DType::F32 { "" } else { self.dtype.as_str() };
        let matmul = if self.matmul == Matmul::Dense { "" } else { self.matmul.name() };
        let all = [&id, &place(self.model), &case, matmul, dtype];
        all.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("::")
    }

    /// Is this worth its time here? Candle's half-precision products are slow on the CPU, so is its kernel
    /// for the real model's blocks, and so is fused attention in half precision: small models and single
    /// operations stand for them.
    fn is_worth_it(&self) -> bool {
        let (small, quantized) = (self.model != "smollm2-135m", self.matmul == Matmul::Quantized);
        let steps = matches!(self.checkpoint.how, How::Laws(_) | How::Greedy(_));
        match (self.dtype, self.cases.first().map(String::as_str)) {
            (DType::BF16, Some("far")) => !quantized, // rows past 600 are there for half precision
            (_, Some("far")) => false,
            (DType::F32, _) => !quantized || small || !steps,
            (_, None | Some("short")) => match self.model {
                "tiny-llama2" => true,
                "tiny-llama:q8_0" => quantized && !steps,
                _ => false,
            },
            _ => false,
        }
    }
}

/// The tests of one model. Names come from its references, which are always there.
fn trials(model: &'static str) -> Vec<Trial> {
    let fixture = models::fixture(model).expect("references are part of the repository");
    let absent = models::open(model).is_err();
    let is_quantized = model.contains(":q") || model == "smollm2-135m";
    let matmuls = if is_quantized { &[Matmul::Dense, Matmul::Quantized][..] } else { &[Matmul::Dense][..] };
    let mut trials = Vec::new();
    for checkpoint in checkpoints::ALL {
        let one_by_one: Vec<Vec<String>> = match checkpoint.how {
            How::Weights | How::Sampling | How::Greedy(_) => vec![vec![]],
            How::Tokens(..) | How::Sites(..) | How::Laws(_) => {
                fixture.cases.iter().map(|case| vec![case.clone()]).collect()
            }
        };
        // Nothing is multiplied in these.
        let exact = matches!(checkpoint.how, How::Weights | How::Sampling);
        let (matmuls, dtypes) = if exact { (&matmuls[..1], &DTYPES[..1]) } else { (matmuls, &DTYPES[..]) };
        for &matmul in matmuls {
            // Over thirty layers the rounding of activations grows to the size of some rows: where it covers
            // a site of one case whole, another case speaks for it.
            let deep = matmul == Matmul::Quantized && model == "smollm2-135m" && !one_by_one[0].is_empty();
            let cases = if deep { vec![fixture.cases.clone()] } else { one_by_one.clone() };
            for (cases, &dtype) in
                cases.iter().flat_map(|cases| dtypes.iter().map(move |dtype| (cases, dtype)))
            {
                let about = About { model, checkpoint, cases: cases.clone(), dtype, matmul };
                if about.is_worth_it() {
                    trials.push(Trial::test(about.name(), move || run(&about)).with_ignored_flag(absent));
                }
            }
        }
    }
    trials
}

/// Judges one case on the CPU.
fn run(about: &About) -> Result<(), Failed> {
    let model = models::open(about.model)?;
    let attentions = if about.dtype == DType::F32 { &ATTENTIONS[..] } else { &ATTENTIONS[..1] };
    let path = |&attention| Path { attention, matmul: about.matmul };
    let paths: Vec<Path> = attentions.iter().map(path).collect();
    let mut subject = Subject::new(&model, &about.cases, &Device::Cpu, about.dtype, &paths)?;
    let outcome = judge::run(&mut subject, about.checkpoint)?;
    match outcome.status() {
        Status::Passed => Ok(()),
        _ => Err(format!("{}\n{}", report::line(&outcome), report::detail(&outcome, "").unwrap_or_default())
            .into()),
    }
}
