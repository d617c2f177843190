//! Runs each checkpoint on each case as a separate test, for example
//! `checkpoint_03_attention::tiny_llama::short`. Some also run in half precision and with quantised
//! products, for example `checkpoint_02_qkv::tiny_llama_q8_0::short::quantized::bf16`.
//!
//! The tests of a real model run if its weights have been fetched. Otherwise they are listed as ignored.

use std::process::ExitCode;

use candle_core::{DType, Device};
use libtest_mimic::{Arguments, Failed, Trial};
use rbees_check::checkpoints::{self, Checkpoint, How};
use rbees_check::judge::{self, Status, Subject};
use rbees_check::model::{Attention, Matmul, Path};
use rbees_check::{models, report};

const MODELS: [&str; models::NAMES.len()] = models::NAMES;

const ATTENTIONS: [Attention; 2] = [Attention::Plain, Attention::Fused];

const DTYPES: [DType; 3] = [DType::F32, DType::BF16, DType::F16];

fn main() -> ExitCode {
    let args = Arguments::from_args();
    let trials = MODELS.into_iter().flat_map(trials).collect();
    libtest_mimic::run(&args, trials).exit_code()
}

/// What one test judges.
#[derive(Clone, Debug)]
struct About {
    model: &'static str,
    checkpoint: &'static Checkpoint,
    /// One case, or several that are judged together. Empty if the checkpoint judges the model as a whole.
    cases: Vec<String>,
    dtype: DType,
    matmul: Matmul,
}

impl About {
    /// `checkpoint_03_attention::tiny_llama::short`, followed by the settings that differ from dense f32.
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

    /// Is this test worth its run time? On the CPU, Candle is slow at half-precision products, at quantised
    /// products of the real model's block type, and at fused attention in half precision. Small models and
    /// single operations are tested instead.
    fn is_worth_it(&self) -> bool {
        let (small, quantized) = (self.model != "smollm2-135m", self.matmul == Matmul::Quantized);
        let steps = matches!(self.checkpoint.how, How::Laws(_) | How::Greedy(_));
        match (self.dtype, self.cases.first().map(String::as_str)) {
            (DType::BF16, Some("far")) => !quantized, // positions past 600 are there to test half precision
            (_, Some("far")) => false,
            (DType::F32, _) => !quantized || small || !steps,
            (_, None | Some("short")) => match self.model {
                "tiny-llama2" | "tiny-llama3" | "tiny-linear" | "tiny-qwen2" | "tiny-mistral"
                | "tiny-qwen3" | "tiny-gemma2" | "tiny-gemma3" => true,
                name if name.ends_with(":q8_0") => quantized && !steps,
                _ => false,
            },
            _ => false,
        }
    }
}

/// The tests of one model. Their names come from its references, which the repository always contains.
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
        // These checkpoints run no matrix product, so one dtype and one matmul are enough.
        let exact = matches!(checkpoint.how, How::Weights | How::Sampling);
        let (matmuls, dtypes) = if exact { (&matmuls[..1], &DTYPES[..1]) } else { (matmuls, &DTYPES[..]) };
        for &matmul in matmuls {
            // Over thirty layers, the rounding of activations becomes as large as some rows. It can leave a
            // site without a comparable row in one case. All cases are judged together, so that another case
            // covers that site.
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
