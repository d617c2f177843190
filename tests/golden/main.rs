//! A record of everything that is decided, without prose: for each planted mistake, each pass that was
//! recorded in PyTorch and each dump, the verdict of every site with all digits of its share of the budget,
//! the first wrong site, the mistakes that are named with their numbers and residuals, and the runner-up.
//!
//! Two records are compared with `diff`. A change to how the code is built must leave the record as it is; a
//! change to what is decided shows here line by line.
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

/// Where a record goes, line by line.
pub type Out<'a> = &'a mut dyn Write;

fn main() -> ExitCode {
    let args = Arguments::from_args();
    let trial = match std::env::var_os("RBEES_GOLDEN") {
        Some(file) => Trial::test("golden_record_is_written", move || whole(Path::new(&file))),
        None => Trial::test("golden_record_of_a_few_mistakes_is_as_stored", small),
    };
    libtest_mimic::run(&args, vec![trial]).exit_code()
}

/// Everything.
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
    // The real model last: it takes as long as all others.
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

/// What the small part plants.
const FEW: &[&str] = &["rope-pairing", "norm-eps", "head-map", "mask-missing", "weight-transposed"];

/// A few mistakes on the smallest model, without numbers that another processor rounds otherwise.
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
            Err("more lines, or fewer, than stored".into())
        }
        None => Ok(()),
    }
}
