//! What unlocks text generation: the path that generates must have passed every checkpoint. Without
//! references it must agree with itself, whether it reads a text at once or in pieces, and with the project's own
//! oracle in a few layers.

use candle_core::{DType, Device};

use super::own::judge_layers;
use super::run_all;
use super::subject::Subject;
use super::unjudged::laws_alone;
use super::verdict::{Outcome, Status};
use crate::checkpoints::{self, How};
use crate::model::{Llama, Path};
use crate::models::Model;
use crate::port::{LlamaPort, Port};
use crate::reference::Fixture;
use crate::{Error, Result};

/// The path that is about to generate text.
pub struct GeneratingPath<'a> {
    /// The model, with its references if it has any.
    pub model: &'a Model,
    /// Where the path runs.
    pub device: &'a Device,
    /// The dtype that it computes in.
    pub dtype: DType,
    /// Its attention and its matrix products.
    pub path: Path,
}

/// Whether a path may generate text.
#[derive(Debug, PartialEq)]
pub enum Gate {
    /// Every checkpoint has passed.
    Open,
    /// Something differs or could not be judged; the text says what, in one line.
    Shut(Status, String),
    /// There are no references. The cache is consistent, and a few layers agree with the project's own oracle.
    Own,
}

impl GeneratingPath<'_> {
    /// Judges the path against the model's references. If the model has none: the consistency of its cache on `prompt`,
    /// and three layers against the project's own oracle. `done` sees each checkpoint as it ends.
    ///
    /// # Errors
    /// The references cannot be read, or the device or dtype cannot run the path. An error of the path itself
    /// shuts the gate.
    pub fn gate(&self, prompt: &[u32], done: impl FnMut(&Outcome)) -> Result<Gate> {
        match &self.model.fixture {
            Some(fixture) => self.by_references(fixture, done),
            None => self.by_own_oracle(prompt, done),
        }
    }

    fn by_own_oracle(&self, prompt: &[u32], mut done: impl FnMut(&Outcome)) -> Result<Gate> {
        let Self { model, device, dtype, path } = *self;
        let mut port = LlamaPort::new(Llama::load(&model.weights, device, dtype, path)?);
        if let Some(shut) = by_laws(&mut port, prompt)? {
            return Ok(shut);
        }
        let outcomes = judge_layers((model, device, dtype, path), &mut port, prompt)?;
        outcomes.iter().for_each(&mut done);
        // The gate is for the path, not for the tokenizer, without which there is no prompt.
        Ok(match shut_by(&outcomes).filter(|(status, _)| *status != Status::Own) {
            None => Gate::Own,
            Some((status, checkpoint)) => {
                Gate::Shut(status, format!("checkpoint {checkpoint} differs from the project's own oracle"))
            }
        })
    }

    fn by_references(&self, fixture: &Fixture, mut done: impl FnMut(&Outcome)) -> Result<Gate> {
        let Self { model, device, dtype, path } = *self;
        let mut subject = Subject::new(model, &fixture.cases, device, dtype, &[path])?;
        let outcomes = run_all(&mut subject, &checkpoints::ALL, |outcome| {
            done(outcome);
            Ok(())
        })?;
        Ok(match shut_by(&outcomes) {
            None => Gate::Open,
            Some((status, checkpoint)) => {
                let path = path.name();
                Gate::Shut(status, format!("checkpoint {checkpoint} has not passed on the {path} path"))
            }
        })
    }
}

/// The first checkpoint with the worst status, or `None` if all passed. A skipped checkpoint has not been
/// judged, and an expected failure is a failure, so both block generation too.
pub(super) fn shut_by(outcomes: &[Outcome]) -> Option<(Status, String)> {
    let of = |status| outcomes.iter().find(move |outcome| outcome.status() == status);
    let order = [Status::Failed, Status::Expected, Status::NotJudged, Status::Skipped, Status::Own];
    let worst = order.into_iter().find_map(of)?;
    Some((worst.status(), format!("{} {}", worst.checkpoint.id, worst.checkpoint.name)))
}

/// Judges only what needs no references. Returns why the path may not generate, if a law does not hold.
pub(super) fn by_laws(port: &mut dyn Port, prompt: &[u32]) -> Result<Option<Gate>> {
    let laws = checkpoints::ALL.into_iter().find_map(|checkpoint| match &checkpoint.how {
        How::Laws(factor) => Some((checkpoint, factor.times)),
        _ => None,
    });
    let (checkpoint, factor) = laws.ok_or_else(|| Error::internal("no checkpoint judges the cache"))?;
    let findings = laws_alone(port, prompt, factor)?;
    Ok(findings.iter().find(|finding| finding.status() != Status::Passed).map(|finding| {
        let what = format!(
            "checkpoint {} {}: {} ({})",
            checkpoint.id, checkpoint.name, finding.about, finding.drive
        );
        Gate::Shut(finding.status(), what)
    }))
}
