//! Every checkpoint × case as a test of its own name: `checkpoint_03_attention::tiny_llama::short`;
//! one model also in half precision: `checkpoint_03_attention::tiny_llama2::short::bf16`.
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

const BOTH: [Matmul; 2] = [Matmul::Dense, Matmul::Quantized];

const ATTENTIONS: [Attention; 2] = [Attention::Plain, Attention::Fused];

const DTYPES: [DType; 3] = [DType::F32, DType::BF16, DType::F16];

fn main() -> ExitCode {
    let args = Arguments::from_args();
    let trials = MODELS.into_iter().flat_map(trials).collect();
    libtest_mimic::run(&args, trials).exit_code()
}

/// The tests of one model. Names come from its references, which are always there.
fn trials(model: &'static str) -> Vec<Trial> {
    let fixture = models::fixture(model).expect("references are part of the repository");
    let absent = models::open(model).is_err();
    let trial = |checkpoint: &'static Checkpoint, case: Option<String>, dtype: DType| {
        let id = checkpoint.constant_name().to_lowercase();
        let about = case.as_deref().unwrap_or("model");
        let half = if dtype == DType::F32 { String::new() } else { format!("::{}", dtype.as_str()) };
        let name = format!("{id}::{model}::{about}{half}").replace(['-', ':'], "_");
        Trial::test(name, move || run(model, checkpoint, case, dtype)).with_ignored_flag(absent)
    };
    // Candle's half-precision products are slow on the CPU: one small model stands for all.
    let dtypes = if matches!(model, "tiny-llama2" | "tiny-llama:q8_0") { &DTYPES[..] } else { &DTYPES[..1] };
    let mut trials = Vec::new();
    for checkpoint in checkpoints::ALL {
        match checkpoint.how {
            How::Weights | How::Sampling => trials.push(trial(checkpoint, None, DType::F32)),
            How::Greedy(_) => trials.extend(dtypes.iter().map(|&dtype| trial(checkpoint, None, dtype))),
            How::Tokens(..) | How::Sites(..) | How::Laws(_) => {
                for case in &fixture.cases {
                    // Rows past 600 are there for what half precision makes of them.
                    let dtypes = match case.as_str() {
                        "short" => dtypes,
                        "far" => &DTYPES[1..2],
                        _ => &DTYPES[..1],
                    };
                    trials.extend(dtypes.iter().map(|&dtype| trial(checkpoint, Some(case.clone()), dtype)));
                }
            }
        }
    }
    trials
}

/// Judges one case on every path, on the CPU.
fn run(
    model: &str,
    checkpoint: &'static Checkpoint,
    case: Option<String>,
    dtype: DType,
) -> Result<(), Failed> {
    let model = models::open(model)?;
    let cases: Vec<String> = case.into_iter().collect();
    let matmuls = if model.weights.is_quantized() { &BOTH[..] } else { &BOTH[..1] };
    let paths: Vec<Path> =
        matmuls.iter().flat_map(|&matmul| ATTENTIONS.map(|attention| Path { attention, matmul })).collect();
    let mut subject = Subject::new(&model, &cases, &Device::Cpu, dtype, &paths)?;
    let outcome = judge::run(&mut subject, checkpoint)?;
    match outcome.status() {
        Status::Passed => Ok(()),
        _ => Err(format!("{}\n{}", report::line(&outcome), report::detail(&outcome, "").unwrap_or_default())
            .into()),
    }
}
