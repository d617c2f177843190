//! Checks candle-transformers' models by what is accessible from outside: logits. In this folder:
//!
//! ```text
//! cargo run --release              every table, then every finding
//! cargo run --release -- 8 14      only these findings of docs/candle-findings.md
//! cargo run --release -- families  only the tables of the other families
//! cargo run --release -- DIR       cases captured from `tiny-llama2`, beside the tables
//! ```

mod driving;
mod families;
mod found;
mod found_in_families;
mod ports;

use std::path::PathBuf;

use candle_core::{DType, Result};
use driving::{WAYS, description, judge_logits};
use ports::{Float, LastLogits, Quantized};
use rbees_check::models;
use rbees_check::probe::Arithmetic::{self, Blocks32, Dense};
use rbees_check::reference::Reference;
use rbees_check::weights::Weights;

pub fn fixtures(path: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../fixtures", path].iter().collect()
}

/// The file that `scripts/fetch_smollm2.sh` downloads.
pub fn smollm2() -> Option<PathBuf> {
    let file = models::home().ok()?.join("smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf");
    file.is_file().then_some(file)
}

fn main() -> Result<()> {
    let tiny = models::open("tiny-llama2")?.weights;
    let config = std::fs::read_to_string(fixtures("tiny-llama2/config.json"))?;
    let findings: [(u8, &dyn Fn() -> Result<()>); 19] = [
        (1, &found::rope_parameters),
        (2, &found::output_weight),
        (3, &found::rope_freqs),
        (4, &|| found::biases(&tiny, &config)),
        (5, &found::head_dim),
        (6, &|| found::context(&tiny, &config)),
        (7, &|| found::cache(&tiny, &config)),
        (8, &found_in_families::window),
        (9, &found_in_families::cached_keys),
        (10, &found_in_families::scale),
        (11, &found_in_families::layer_types),
        (12, &found_in_families::bf16_chunks),
        (13, &found_in_families::two_key_heads),
        (14, &found_in_families::scaling),
        (15, &found_in_families::one_plus_weight),
        (16, &found_in_families::silu),
        (17, &found_in_families::gguf_chunks),
        (18, &found_in_families::half_angles),
        (19, &found_in_families::qwen3_chunks),
    ];
    if std::env::args().any(|argument| argument == "families") {
        return found_in_families::tables();
    }
    let asked: Vec<u8> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    if asked.is_empty() {
        tables(&tiny, &config)?;
    }
    findings.iter().filter(|(n, _)| asked.is_empty() || asked.contains(n)).try_for_each(|(_, show)| show())
}

fn tables(tiny: &Weights, config: &str) -> Result<()> {
    println!("logits at every position, compared with float64 references");
    for (dtype, name) in [(DType::F32, "f32"), (DType::BF16, "bf16"), (DType::F16, "f16")] {
        let mut port = Float::on(tiny, config, dtype)?;
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
            let mut port = Float::on(tiny, config, dtype)?;
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
    found_in_families::tables()
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
