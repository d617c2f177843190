//! Every checkpoint × case as a test of its own name: `checkpoint_03_attention::tiny_llama::short`.
//!
//! A real model's tests run when its weights are there; otherwise they are listed as ignored.

use std::process::ExitCode;

use candle_core::{DType, Device};
use libtest_mimic::{Arguments, Failed, Trial};
use rbees_check::checkpoints::{self, Checkpoint, How};
use rbees_check::judge::{self, Status, Subject};
use rbees_check::model::Attention;
use rbees_check::{models, report};

const MODELS: [&str; 3] = ["tiny-llama", "tiny-llama2", "smollm2-135m"];

fn main() -> ExitCode {
    let args = Arguments::from_args();
    let trials = MODELS.into_iter().flat_map(trials).collect();
    libtest_mimic::run(&args, trials).exit_code()
}

/// The tests of one model. Names come from its references, which are always there.
fn trials(model: &'static str) -> Vec<Trial> {
    let fixture = models::fixture(model).expect("references are part of the repository");
    let absent = models::open(model).is_err();
    let trial = |checkpoint: &'static Checkpoint, case: Option<String>| {
        let id = checkpoint.constant_name().to_lowercase();
        let about = case.as_deref().unwrap_or("model");
        let name = format!("{id}::{model}::{about}").replace('-', "_");
        Trial::test(name, move || run(model, checkpoint, case)).with_ignored_flag(absent)
    };
    let mut trials = Vec::new();
    for checkpoint in checkpoints::ALL {
        match checkpoint.how {
            How::Weights | How::Sampling | How::Greedy(_) => trials.push(trial(checkpoint, None)),
            How::Tokens(..) | How::Sites(..) | How::Laws(_) => {
                trials.extend(fixture.cases.iter().map(|case| trial(checkpoint, Some(case.clone()))));
            }
        }
    }
    trials
}

/// Judges one case on every path, on the CPU in f32.
fn run(model: &str, checkpoint: &'static Checkpoint, case: Option<String>) -> Result<(), Failed> {
    let model = models::open(model)?;
    let cases: Vec<String> = case.into_iter().collect();
    let paths = [Attention::Plain, Attention::Fused];
    let mut subject = Subject::new(&model, &cases, &Device::Cpu, DType::F32, &paths)?;
    let outcome = judge::run(&mut subject, checkpoint)?;
    match outcome.status() {
        Status::Passed => Ok(()),
        _ => Err(format!("{}\n{}", report::line(&outcome), report::detail(&outcome, "").unwrap_or_default())
            .into()),
    }
}
