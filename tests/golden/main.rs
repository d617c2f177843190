//! Writes a record of every result, without prose. For each planted mistake, each pass recorded in PyTorch
//! and each dump, it contains the verdict of every site with all digits of its share of the budget, the
//! first wrong site, the named mistakes with their numbers and residuals, and the runner-up.
//!
//! Compare two records with `diff`. A refactoring must not change the record. A change of results is visible
//! here line by line.
//!
//! ```text
//! RBEES_GOLDEN=before.txt cargo test --release --test golden    # the whole record: about half an hour
//! cargo test --test golden                                      # a small part, compared with small.txt
//! ```

mod dumps;
mod line;
mod planted;
#[path = "../program/mod.rs"]
mod program;
#[path = "../replay/mod.rs"]
mod replay;
mod torch;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use candle_core::DType;
use libtest_mimic::{Arguments, Failed, Trial};
use rbees_check::model::{Attention, Matmul};

/// The destination of a record.
pub type Out<'a> = &'a mut dyn Write;

fn main() -> ExitCode {
    let args = Arguments::from_args();
    let trial = match std::env::var_os("RBEES_GOLDEN") {
        Some(file) => Trial::test("the_whole_golden_record_is_written", move || whole(Path::new(&file))),
        None => Trial::test("the_golden_record_of_a_few_mistakes_equals_small_txt", small),
    };
    libtest_mimic::run(&args, vec![trial]).exit_code()
}

/// Writes the whole record.
fn whole(file: &Path) -> Result<(), Failed> {
    let out: Out<'_> = &mut fs::File::create(file)?;
    let both = &[Attention::Plain, Attention::Fused];
    let plain = &[Attention::Plain];
    for (model, dtype, matmul, on) in [
        ("tiny-llama", DType::F32, Matmul::Dense, &both[..]),
        ("tiny-llama2", DType::F32, Matmul::Dense, both),
        ("tiny-llama", DType::BF16, Matmul::Dense, both),
        ("tiny-llama2", DType::BF16, Matmul::Dense, plain),
        ("tiny-llama", DType::F16, Matmul::Dense, plain),
        ("fixtures/tiny-llama/gguf/tiny-llama-q8_0.gguf", DType::F32, Matmul::Quantized, plain),
    ] {
        planted::record(&planted::On { model, dtype, matmul, paths: on, only: None }, out)?;
        dumps::record_planted(model, dtype, matmul, None, out)?;
    }
    dumps::record_stored(out)?;
    torch::record(out)?;
    // The real model is last because it takes as long as all others together.
    let smollm2 = planted::On {
        model: "smollm2-135m",
        dtype: DType::F32,
        matmul: Matmul::Dense,
        paths: plain,
        only: None,
    };
    planted::record(&smollm2, out)?;
    Ok(())
}

/// The mistakes of the small record.
const FEW: &[&str] = &["rope-pairing", "norm-eps", "head-map", "mask-missing", "weight-transposed"];

/// Compares the record of a few mistakes on the smallest model with `small.txt`, without numbers that depend
/// on the processor's rounding.
fn small() -> Result<(), Failed> {
    let mut got = Vec::new();
    let on = planted::On {
        model: "tiny-llama",
        dtype: DType::F32,
        matmul: Matmul::Dense,
        paths: &[Attention::Plain],
        only: Some(FEW),
    };
    planted::record(&on, &mut got)?;
    dumps::record_planted("tiny-llama", DType::F32, Matmul::Dense, Some(FEW), &mut got)?;
    let got = line::coarse(&String::from_utf8(got)?);
    let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/small.txt");
    if std::env::var_os("RBEES_GOLDEN_UPDATE").is_some() {
        fs::write(&stored, &got)?;
    }
    let want = fs::read_to_string(&stored)?;
    match want.lines().zip(got.lines()).find(|(want, got)| want != got) {
        Some((want, got)) => Err(format!("stored {want}\nnow    {got}").into()),
        None if want.lines().count() != got.lines().count() => {
            Err("the number of lines differs from the stored record".into())
        }
        None => Ok(()),
    }
}
