//! Tests the harness itself: plants every mistake of the catalogue in a correct model and checks that exactly
//! the declared checkpoints fail.

mod caught;
mod named;
mod tally;
mod text;

pub use caught::{Caught, Declared, OnPath};
pub use named::Naming;
pub use tally::Tally;
pub use text::{line, matrix};

use candle_core::{DType, Device};

use crate::checkpoints::{self, Checkpoint};
use crate::judge::{self, ModelFacts, Outcome, Subject};
use crate::mistakes::{self, Mistake};
use crate::model::{Attention, Llama, Matmul, Path};
use crate::models::Model;
use crate::plants::{self, Availability, Correct, Plant, Planted, Setting};
use crate::reference::{Prompt, Reference};
use crate::{Error, Result};

/// The longest short case, in positions. Longer cases are judged only for plants that need them.
const SHORT: usize = 64;

/// The number of greedy steps that is enough to see whether a text changes; further prompts add nothing.
const STEPS: usize = 90;

/// A correct model and everything that it is judged by.
pub struct Bench<'a> {
    model: &'a Model,
    llama: Llama,
    cases: Vec<Reference>,
    facts: Option<ModelFacts>,
}

/// One line of the self-test.
pub struct MistakeRow {
    /// Its number in the catalogue; `None` for a mistake that only some families invite.
    pub number: Option<u8>,
    /// The mistake's name.
    pub name: &'static str,
    /// Whether it can be planted in this model.
    pub availability: Availability,
}

impl MistakeRow {
    fn of(mistake: &'static Mistake, setting: &Setting<'_>) -> Self {
        let availability = plants::availability(mistake, setting);
        Self { number: Some(mistake.number), name: mistake.name, availability }
    }
}

impl<'a> Bench<'a> {
    /// Loads `model` on the CPU in `dtype`, with products as `matmul` says and all cases of its references.
    ///
    /// # Errors
    /// The model has no references, or cannot be loaded.
    pub fn new(model: &'a Model, dtype: DType, matmul: Matmul) -> Result<Self> {
        let cases = model.fixture.iter().flat_map(|fixture| &fixture.cases);
        Self::by(model, dtype, matmul, &cases.map(String::as_str).collect::<Vec<_>>())
    }

    /// Like [`Bench::new`], with these cases only.
    ///
    /// # Errors
    /// Those of [`Bench::new`]; an unknown case.
    pub fn by(model: &'a Model, dtype: DType, matmul: Matmul, cases: &[&str]) -> Result<Self> {
        let Some(fixture) = &model.fixture else {
            let hint = "the self-test needs a model with references: one that `rbees-check list` prints";
            return Err(Error::input(format!("{} has no references", model.name), hint));
        };
        let llama =
            Llama::load(&model.weights, &Device::Cpu, dtype, Path { attention: Attention::Plain, matmul })?;
        let cases = cases.iter().map(|case| fixture.case(case)).collect::<Result<_>>()?;
        let subject = Subject::new(model, &[], &Device::Cpu, dtype, &[] as &[Attention])?;
        let mut facts = subject.model;
        if let Some(facts) = &mut facts {
            few(&mut facts.greedy.prompts);
            facts.greedy.quantized.values_mut().for_each(few);
        }
        Ok(Self { model, llama, cases, facts })
    }

    /// The dtype in which the model computes.
    pub fn dtype(&self) -> DType {
        self.llama.dtype()
    }

    /// The cases that the model is judged by.
    pub fn cases(&self) -> &[Reference] {
        &self.cases
    }

    /// Checks whether `plant` can show in this model.
    ///
    /// # Errors
    /// Says what the model, its cases or the dtype lack.
    pub fn can_show(&self, plant: &Plant) -> Result<(), String> {
        (plant.shows)(&self.setting())
    }

    fn setting(&self) -> Setting<'_> {
        let matmul = self.llama.path.matmul;
        Setting { config: &self.llama.config, cases: &self.cases, dtype: self.dtype(), matmul }
    }

    /// Every row of the catalogue, and whether it can be planted in this model.
    pub fn rows(&self) -> Vec<MistakeRow> {
        let setting = self.setting();
        mistakes::all().map(|mistake| MistakeRow::of(mistake, &setting)).collect()
    }

    /// The mistakes that this model's family and settings invite, beside the rows of the catalogue.
    pub fn rows_of_family(&self) -> Vec<MistakeRow> {
        let shown = plants::of_families().filter(|plant| self.can_show(plant).is_ok());
        let row = |plant: &'static Plant| MistakeRow {
            number: None,
            name: plant.name,
            availability: Availability::Planted(plant),
        };
        shown.map(row).collect()
    }

    /// The correct model on `path`.
    ///
    /// # Errors
    /// The path cannot run here.
    pub fn correct_model(&self, path: Attention) -> Result<Llama> {
        self.llama.on(path)
    }

    /// Plants `plant` on each of its paths and runs every checkpoint.
    ///
    /// # Errors
    /// The mistake cannot be planted, or a checkpoint cannot run.
    pub fn catch(&self, plant: &'static Plant) -> Result<Caught> {
        self.catch_on(plant, plant.paths)
    }

    /// Like [`Bench::catch`], on these paths.
    ///
    /// # Errors
    /// Those of [`Bench::catch`].
    pub fn catch_on(&self, plant: &'static Plant, on: &[Attention]) -> Result<Caught> {
        let chosen = self.reached(plant);
        self.catch_by(plant, on, &chosen, &checkpoints::ALL)
    }

    /// The cases that `plant` is judged by: the shortest text, the shortest batch, and, if it shows only at
    /// far positions, the shortest case that reaches them. Further cases would add nothing.
    pub fn reached(&self, plant: &Plant) -> Vec<String> {
        let shortest = |fits: &dyn Fn(&Reference) -> bool| {
            self.cases.iter().filter(|case| fits(case)).min_by_key(|case| case.length())
        };
        let near = |case: &Reference| (2..=SHORT).contains(&case.length());
        let text = shortest(&|case| near(case) && case.batch() == 1);
        let batch = shortest(&|case| near(case) && case.batch() > 1);
        let reach = (plant.reach)(self.dtype());
        let far = shortest(&|case| reach > SHORT && case.length() >= reach);
        [text, batch, far].into_iter().flatten().map(|case| case.manifest.case.clone()).collect()
    }

    /// Like [`Bench::catch`], on these paths, with these cases and checkpoints.
    ///
    /// # Errors
    /// Those of [`Bench::catch`].
    pub fn catch_by(
        &self,
        plant: &'static Plant,
        on: &[Attention],
        cases: &[String],
        checkpoints: &[&'static Checkpoint],
    ) -> Result<Caught> {
        let declared = Declared::of(plant, &self.model.name, &self.llama.config);
        let mut paths = Vec::new();
        for &path in on {
            let llama = self.correct_model(path)?;
            let planted = (plant.make)(&Correct { model: self.model, llama: &llama })?;
            paths.push(OnPath::new(plant, &declared, path, self.judge_planted(planted, cases, checkpoints)?));
        }
        Ok(Caught { plant, dtype: self.dtype(), matmul: self.llama.path.matmul, declared, paths })
    }

    /// Runs each of `checkpoints` separately: in one run of all of them, generation runs only if the others
    /// pass.
    fn judge_planted(
        &self,
        planted: Planted,
        cases: &[String],
        checkpoints: &[&'static Checkpoint],
    ) -> Result<Vec<Outcome>> {
        let chosen = |case: &&Reference| cases.contains(&case.manifest.case);
        let mut subject = Subject {
            config: planted.files.config,
            weights: &planted.files.weights,
            tokenizer: Ok(&planted.files.tokenizer),
            ports: vec![planted.port],
            cases: self.cases.iter().filter(chosen).cloned().collect(),
            model: self.facts.clone(),
            feed: None,
        };
        judge::run_each(&mut subject, checkpoints)
    }
}

/// Keeps the prompts with the fewest steps, until they add up to [`STEPS`].
fn few(prompts: &mut Vec<Prompt>) {
    prompts.sort_by_key(|prompt| prompt.tokens.len());
    let mut steps = 0;
    prompts.retain(|prompt| {
        let wanted = steps < STEPS;
        steps += prompt.tokens.len();
        wanted
    });
}
