//! Dumps judged by the program: the stored ones, and a recording of each planted mistake, once with all
//! sites and once with the few sites of [`FEW`].

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor, safetensors};
use libtest_mimic::Failed;
use rbees_check::model::{Attention, Input, Matmul};
use rbees_check::plants::{self, Correct};
use rbees_check::probe::{Kind, Probe, Site};
use rbees_check::reference::Reference;
use rbees_check::report::json::Report;
use rbees_check::selftest::Bench;

use super::program::{home, rbees};
use super::{Out, line, planted};

/// The sites of a port with few taps.
const FEW: [Kind; 5] = [Kind::QRope, Kind::KRope, Kind::Context, Kind::Block, Kind::Logits];

/// Records a pass of the correct model and of each planted mistake over each case of 2 to 64 tokens, and
/// judges it as a dump.
pub fn record_planted(
    model: &str,
    dtype: DType,
    matmul: Matmul,
    only: Option<&[&str]>,
    out: Out<'_>,
) -> Result<(), Failed> {
    let opened = planted::open(model)?;
    let bench = Bench::new(&opened, dtype, matmul)?;
    let name = model.rsplit('/').next().unwrap_or(model);
    let cases: Vec<&Reference> =
        bench.cases().iter().filter(|case| (2..=64).contains(&case.length())).collect();
    let correct = bench.correct_model(Attention::Plain)?;
    for case in cases {
        let mut record = |what: &str, port: &mut dyn rbees_check::port::Port| -> Result<(), Failed> {
            let mut taps = Taps(HashMap::new());
            port.begin();
            if port.forward(&input(case), &mut taps).is_err() {
                return Ok(());
            }
            for few in [false, true] {
                let head = format!(
                    "dump {name} {} {} {what} {}",
                    case.manifest.case,
                    line::dtype(dtype),
                    if few { "five taps" } else { "all sites" }
                );
                let arrays = taps.0.iter().filter(|(site, _)| !few || FEW.contains(&site.kind));
                let arrays = arrays.map(|(site, tensor)| (site.to_string(), tensor.clone()));
                let folder = tempfile::tempdir()?;
                let file = folder.path().join("dump.safetensors");
                safetensors::save(&with_tokens(arrays.collect(), case)?, &file)?;
                let quantized = matmul == Matmul::Quantized;
                judged(&head, &file, model, quantized, out)?;
            }
            Ok(())
        };
        if only.is_none() {
            record("sound", &mut rbees_check::port::LlamaPort::new(correct.clone()))?;
        }
        for plant in plants::all().filter(|plant| only.is_none_or(|only| only.contains(&plant.name))) {
            if bench.can_show(plant).is_ok() && plant.paths.contains(&Attention::Plain) {
                let mut made = (plant.make)(&Correct { model: &opened, llama: &correct })?;
                record(plant.name, &mut *made.port)?;
            }
        }
    }
    Ok(())
}

/// Judges the dumps in `fixtures/dumps`.
pub fn record_stored(out: Out<'_>) -> Result<(), Failed> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (file, model) in [
        ("llama-cpp-f32", "tiny-llama"),
        ("llama-cpp-q8_0", "fixtures/tiny-llama/gguf/tiny-llama-q8_0.gguf"),
        ("tiny-llama-rope-pairing", "tiny-llama"),
    ] {
        let dump = root.join(format!("fixtures/dumps/{file}.safetensors"));
        judged(&format!("dump {file}"), &dump, model, false, out)?;
    }
    Ok(())
}

/// Runs the program on a dump and writes the contents of its report.
fn judged(head: &str, dump: &Path, model: &str, quantized: bool, out: Out<'_>) -> Result<(), Failed> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (folder, home) = (tempfile::tempdir()?, home());
    let report = folder.path().join("r.json");
    let file = root.join(model);
    let (model, references) = if file.is_file() {
        (file.display().to_string(), root.join("fixtures/tiny-llama-q8_0").display().to_string())
    } else {
        (model.to_owned(), model.to_owned())
    };
    let (dump, to) = (dump.display().to_string(), format!("json={}", report.display()));
    let mut args =
        vec!["run", "all", "--dump", &dump, "--model", &model, "--references", &references, "--report", &to];
    if quantized {
        args.extend(["--matmul", "quantized"]);
    }
    let ran = rbees(&home, &args).output()?;
    let code = ran.status.code().ok_or("the program was ended by a signal")?;
    writeln!(out, "{head} exit {code}")?;
    if code == 2 && !report.exists() {
        return Ok(());
    }
    let stdout = String::from_utf8_lossy(&ran.stdout).into_owned();
    // How a line begins, and the word that stands for it in a golden line.
    let wanted = [
        ("first site that differs from the reference", "values"),
        ("first wrong operation", "computed"),
        ("coverage", "coverage:"),
    ];
    for line in stdout.lines() {
        let Some((_, word)) = wanted.iter().find(|(start, _)| line.starts_with(start)) else { continue };
        let sites: Vec<&str> =
            line.split([' ', ',', ':']).filter(|word| word.parse::<Site>().is_ok()).collect();
        writeln!(out, "{head} {word} {sites:?}")?;
    }
    for checkpoint in &Report::read(&report)?.checkpoints {
        writeln!(out, "{head} {} {:?}", checkpoint.id, checkpoint.status)?;
        line::findings(head, checkpoint, out)?;
    }
    Ok(())
}

/// The input of a case as one prefill.
fn input(case: &Reference) -> Input {
    let mut real = vec![vec![false; case.length()]; case.batch()];
    case.places().iter().for_each(|&(b, s)| real[b][s] = true);
    Input { ids: case.manifest.ids.clone(), positions: case.manifest.position_ids.clone(), real }
}

fn with_tokens(
    mut arrays: HashMap<String, Tensor>,
    case: &Reference,
) -> Result<HashMap<String, Tensor>, Failed> {
    let tokens = case.tokens();
    for (name, tensor) in
        [("input_ids", &tokens.ids), ("position_ids", &tokens.positions), ("attention_mask", &tokens.mask)]
    {
        let _ = arrays.insert(name.into(), tensor.to_dtype(DType::I64)?.to_device(&Device::Cpu)?);
    }
    Ok(arrays)
}

struct Taps(HashMap<Site, Tensor>);

impl Probe for Taps {
    fn wants(&self, _: Kind) -> bool {
        true
    }

    fn tap(&mut self, site: Site, tensor: Tensor) -> rbees_check::Result<Tensor> {
        self.0.insert(site, tensor.copy()?.contiguous()?);
        Ok(tensor)
    }
}
