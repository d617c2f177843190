//! Judges a model of one's own: `cargo run --example own_model`. All checkpoints pass.

mod llama;

use std::path::Path;

use candle_core::{DType, Device};
use rbees_check::judge::{self, Status, Subject};
use rbees_check::model::Attention;
use rbees_check::{Result, checkpoints, models, report};

/// The project's own Llama is not judged.
const NO_PATH: [Attention; 0] = [];

fn main() -> Result<()> {
    let port = llama::Llama::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-llama"))?;
    let model = models::open("tiny-llama")?; // its references, and what is not the port's: tokens, sampling
    let cases = ["single", "short", "batch-left", "long"].map(String::from);
    let mut subject = Subject::new(&model, &cases, &Device::Cpu, DType::F32, &NO_PATH)?;
    subject.ports = vec![Box::new(port)];
    let outcomes =
        judge::run_all(&mut subject, &checkpoints::ALL, |outcome| println!("{}", report::line(outcome)))?;
    assert!(outcomes.iter().all(|outcome| outcome.status() == Status::Passed));
    Ok(())
}
