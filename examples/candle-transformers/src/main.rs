//! Checks candle-transformers' `llama` and `quantized_llama` by what is accessible from outside: logits. Run
//! `cargo run --release` in this folder; arguments may be folders of cases captured from `tiny-llama2`.
//! `docs/candle-findings.md` describes the findings.

mod driving;
mod found;
mod ports;

use std::path::PathBuf;

use candle_core::{DType, Result};
use driving::{WAYS, description, judge_logits};
use ports::{Float, LastLogits, Quantized};
use rbees_check::models;
use rbees_check::probe::Arithmetic::{self, Blocks32, Dense};
use rbees_check::reference::Reference;

pub fn fixtures(path: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../fixtures", path].iter().collect()
}

/// The file that `scripts/fetch_smollm2.sh` downloads.
pub fn smollm2() -> Option<PathBuf> {
    let file = models::home().ok()?.join("smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf");
    file.is_file().then_some(file)
}

fn main() -> Result<()> {
    println!("logits at every position, compared with float64 references");
    let tiny = models::open("tiny-llama2")?.weights;
    let config = std::fs::read_to_string(fixtures("tiny-llama2/config.json"))?;
    for (dtype, name) in [(DType::F32, "f32"), (DType::BF16, "bf16"), (DType::F16, "f16")] {
        let mut port = Float::on(&tiny, &config, dtype)?;
        table(&format!("llama {name}, tiny-llama2"), &mut port, "tiny-llama2/short", (dtype, Dense))?;
    }
    let mut port = Quantized::open(&fixtures("tiny-llama2/gguf/tiny-llama2-f16.gguf"))?;
    table("quantized_llama F16, tiny-llama2", &mut port, "tiny-llama2/short", (DType::F32, Dense))?;
    match smollm2() {
        None => println!("(SmolLM2 was not downloaded: run scripts/fetch_smollm2.sh)"),
        Some(file) => {
            let weights = models::open("smollm2-135m")?.weights;
            let mut port = Float::on(&weights, found::SMOLLM2, DType::F32)?;
            table("llama f32, SmolLM2", &mut port, "smollm2-135m/short", (DType::F32, Dense))?;
            table("llama f32, SmolLM2, 37 tokens", &mut port, "smollm2-135m/chat", (DType::F32, Dense))?;
            let mut port = Quantized::open(&file)?;
            table("quantized_llama Q4_1, SmolLM2", &mut port, "smollm2-135m/short", (DType::F32, Blocks32))?;
            table("quantized_llama Q4_1, 37 tokens", &mut port, "smollm2-135m/chat", (DType::F32, Blocks32))?;
        }
    }
    for case in std::env::args().skip(1) {
        let case = Reference::open(case)?; // captured from tiny-llama2
        for dtype in [DType::F32, DType::BF16] {
            let mut port = Float::on(&tiny, &config, dtype)?;
            against(
                &format!("llama {}, tiny-llama2, {} tokens", dtype.as_str(), case.length()),
                &mut port,
                &case,
                (dtype, Dense),
            )?;
        }
        let mut port = Quantized::open(&fixtures("tiny-llama2/gguf/tiny-llama2-f16.gguf"))?;
        against("quantized_llama F16, the same", &mut port, &case, (DType::F32, Dense))?;
    }
    found::all(&tiny, &config)
}

fn table(head: &str, port: &mut dyn LastLogits, case: &str, run: (DType, Arithmetic)) -> Result<()> {
    against(head, port, &Reference::open(fixtures(case))?, run)
}

fn against(head: &str, port: &mut dyn LastLogits, case: &Reference, run: (DType, Arithmetic)) -> Result<()> {
    println!("\n{head}");
    for way in WAYS {
        println!("  {:<24} {}", way.0, description(&judge_logits(port, case, run, way)?));
    }
    Ok(())
}
