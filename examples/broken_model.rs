//! The model of `own_model.rs` with one mistake: it rotates by the usual θ of 10000 and not by its
//! config's. `cargo run --example broken_model` says where that shows first.

mod llama;

use std::path::Path;

use candle_core::{DType, Device};
use rbees_check::judge::{self, Status, Subject};
use rbees_check::model::Attention;
use rbees_check::{Result, checkpoints, models, report};

/// The project's own Llama is not judged.
const NO_PATH: [Attention; 0] = [];

fn main() -> Result<()> {
    let mut port = llama::Llama::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-llama"))?;
    port.theta = 10_000.0; // the mistake
    let model = models::open("tiny-llama")?;
    let mut subject = Subject::new(&model, &["short".into()], &Device::Cpu, DType::F32, &NO_PATH)?;
    subject.ports = vec![Box::new(port)];
    let outcomes = judge::run_all(&mut subject, &checkpoints::ALL, |outcome| {
        println!("{}", report::line(outcome));
        print!("{}", report::detail(outcome, "").unwrap_or_default());
    })?;
    let failed = outcomes.iter().find(|outcome| outcome.status() == Status::Failed);
    assert_eq!(failed.map(|outcome| outcome.checkpoint.id), Some("01B"));
    Ok(())
}
