//! Every planted mistake on one model, judged as a live port.

use candle_core::DType;
use libtest_mimic::Failed;
use rbees_check::checkpoints;
use rbees_check::judge::{self, Subject};
use rbees_check::model::{Attention, Matmul, Path};
use rbees_check::models::{self, Model};
use rbees_check::plants::{self, Correct, Plant};
use rbees_check::reference::Reference;
use rbees_check::selftest::Bench;

use super::{Out, line};

/// Where mistakes are planted.
pub struct On<'a> {
    pub model: &'a str,
    pub dtype: DType,
    pub matmul: Matmul,
    pub paths: &'a [Attention],
    /// If set, only these mistakes.
    pub only: Option<&'a [&'a str]>,
}

impl On<'_> {
    pub fn wants(&self, plant: &Plant) -> bool {
        self.only.is_none_or(|only| only.contains(&plant.name))
    }
}

/// Opens a model by name or file. A file is judged by the references of the quantised tiny-llama.
pub fn open(name: &str) -> Result<Model, Failed> {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if !file.is_file() {
        return Ok(models::open(name)?);
    }
    let mut model = models::open(&file.display().to_string())?;
    let references = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-llama-q8_0");
    model.fixture = Some(models::references(&references.display().to_string())?);
    Ok(model)
}

/// Judges the correct model, and every planted mistake that the model can show, by every checkpoint.
pub fn record(on: &On<'_>, out: Out<'_>) -> Result<(), Failed> {
    let model = open(on.model)?;
    let bench = Bench::new(&model, on.dtype, on.matmul)?;
    let name = on.model.rsplit('/').next().unwrap_or(on.model);
    for &path in on.paths {
        let head = format!("{name} {} {path:?} sound", line::dtype(on.dtype));
        let cases: Vec<String> = bench.cases().iter().map(|case| case.manifest.case.clone()).collect();
        let how = Path { attention: path, matmul: on.matmul };
        let mut subject = Subject::new(&model, &cases, &candle_core::Device::Cpu, on.dtype, &[how])?;
        line::outcomes(&head, &judged(&mut subject)?, out)?;
    }
    for plant in plants::all().filter(|plant| on.wants(plant) && bench.can_show(plant).is_ok()) {
        for &path in plant.paths.iter().filter(|path| on.paths.contains(path)) {
            let head = format!("{name} {} {path:?} {}", line::dtype(on.dtype), plant.name);
            let llama = bench.correct_model(path)?;
            let planted = (plant.make)(&Correct { model: &model, llama: &llama })?;
            let reached = bench.reached(plant);
            let cases: Vec<Reference> =
                bench.cases().iter().filter(|case| reached.contains(&case.manifest.case)).cloned().collect();
            let facts =
                Subject::new(&model, &[], &candle_core::Device::Cpu, on.dtype, &[] as &[Attention])?.model;
            let mut subject = Subject {
                config: planted.files.config,
                weights: &planted.files.weights,
                tokenizer: Ok(&planted.files.tokenizer),
                ports: vec![planted.port],
                cases,
                model: facts.map(|mut facts| {
                    facts.greedy.prompts.truncate(1);
                    facts.greedy.quantized.values_mut().for_each(|prompts| prompts.truncate(1));
                    facts
                }),
                feed: None,
            };
            line::outcomes(&head, &judged(&mut subject)?, out)?;
        }
    }
    Ok(())
}

fn judged(subject: &mut Subject<'_>) -> Result<Vec<judge::Outcome>, Failed> {
    Ok(checkpoints::ALL
        .iter()
        .map(|checkpoint| judge::run(subject, checkpoint))
        .collect::<rbees_check::Result<_>>()?)
}
