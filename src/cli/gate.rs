//! Judges a path before `generate` prints its first token, so that no text comes from a path that fails.

use candle_core::Device;
use rbees_check::checkpoints::{self, How};
use rbees_check::judge::{self, LlamaPort, Outcome, Status, Subject, Verdict};
use rbees_check::model::{self, Llama};
use rbees_check::models::Model;
use rbees_check::reference::Fixture;
use rbees_check::{Error, Result};

use super::device;
use super::outcomes::rendered;
use super::progress::Progress;
use super::stderr::say;
use super::verdicts::VerdictKey;

/// The path that is about to generate.
pub struct GatedPath<'a> {
    pub model: &'a Model,
    pub device: &'a Device,
    pub dtype: candle_core::DType,
    pub path: model::Path,
}

/// The result of judging the path.
#[derive(Debug, PartialEq)]
pub enum Gate {
    /// Every checkpoint has passed, in this run or an earlier one.
    Open,
    /// Something differs or could not be judged; the text says what, in one line.
    Shut(Status, String),
    /// There are no references. Only the consistency of the cache could be judged, and it passed.
    Unjudged,
}

/// Judges the path against the model's references, or only the consistency of its cache if it has none.
pub fn judge_path(path: &GatedPath<'_>, prompt: &[u32], verbose: u8) -> Result<Gate> {
    match &path.model.fixture {
        Some(fixture) => by_references(path, fixture, verbose),
        None => by_laws(path, prompt),
    }
}

fn by_references(path: &GatedPath<'_>, fixture: &Fixture, verbose: u8) -> Result<Gate> {
    let name = path.path.name();
    let key = VerdictKey::new(path.model, fixture, device::name(path.device), path.dtype.as_str(), name)?;
    if key.passed() {
        return Ok(Gate::Open);
    }
    let progress = Progress::start("reading references: the path is judged once, before it first generates");
    let mut subject = Subject::new(path.model, &fixture.cases, path.device, path.dtype, &[path.path])?;
    let outcomes = judge::run_all(&mut subject, &checkpoints::ALL, |outcome| {
        progress.now(&format!("judging before the first generation: {} done", outcome.checkpoint.id));
        if verbose > 0 {
            progress.aside(|| say(rendered(outcome, verbose - 1).trim_end()));
        }
    })?;
    drop(progress);
    match shut_by(&outcomes) {
        Some((status, checkpoint)) => {
            Ok(Gate::Shut(status, format!("checkpoint {checkpoint} has not passed on the {name} path")))
        }
        None => {
            key.remember()
                .unwrap_or_else(|error| say(&format!("note: the verdict could not be stored: {error}")));
            Ok(Gate::Open)
        }
    }
}

/// The first checkpoint with the worst status, or `None` if all passed. A skipped checkpoint has not been
/// judged, so it blocks generation too.
fn shut_by(outcomes: &[Outcome]) -> Option<(Status, String)> {
    let of = |status| outcomes.iter().find(move |outcome| outcome.status() == status);
    let worst = [Status::Failed, Status::NotJudged, Status::Skipped].into_iter().find_map(of)?;
    Some((worst.status(), format!("{} {}", worst.checkpoint.id, worst.checkpoint.name)))
}

fn by_laws(path: &GatedPath<'_>, prompt: &[u32]) -> Result<Gate> {
    let laws = checkpoints::ALL.into_iter().find_map(|checkpoint| match &checkpoint.how {
        How::Laws(factor) => Some((checkpoint, factor.times)),
        _ => None,
    });
    let (checkpoint, factor) =
        laws.ok_or_else(|| Error::input("no checkpoint judges the cache", "use --unchecked"))?;
    let _progress = Progress::start("checking that the cache is consistent on the prompt");
    let llama = Llama::load(&path.model.weights, path.device, path.dtype, path.path)?;
    let mut port = LlamaPort::new(llama);
    let findings = judge::laws_alone(&mut port, prompt, factor)?;
    let broken = findings.iter().find(|finding| !matches!(finding.verdict, Verdict::Pass(_)));
    Ok(match broken {
        None => Gate::Unjudged,
        Some(finding) => {
            let what = format!(
                "checkpoint {} {}: {} ({})",
                checkpoint.id, checkpoint.name, finding.about, finding.drive
            );
            Gate::Shut(finding.verdict.status(), what)
        }
    })
}

#[cfg(test)]
mod tests {
    use rbees_check::judge::Finding;

    use super::*;

    fn outcome(n: usize, verdict: Option<Verdict>) -> Outcome {
        let finding = |verdict| Finding::new("a fact", verdict);
        let (skipped, notes) = (verdict.is_none().then(|| "no weights".to_owned()), vec![]);
        let findings = verdict.into_iter().map(finding).collect();
        Outcome { checkpoint: checkpoints::ALL[n], findings, skipped, notes }
    }

    #[test]
    fn a_skipped_checkpoint_blocks_generation() {
        assert_eq!(shut_by(&[outcome(0, Some(Verdict::Pass(0.5)))]), None);
        let skipped = [outcome(0, Some(Verdict::Pass(0.5))), outcome(1, None)];
        assert_eq!(shut_by(&skipped), Some((Status::Skipped, "00B tokens".into())));
    }

    #[test]
    fn the_first_failure_is_reported_before_checkpoints_that_could_not_be_judged() {
        let broken = || Some(Verdict::Broken("x".into()));
        let outcomes = [outcome(2, Some(Verdict::Incomparable)), outcome(5, broken()), outcome(7, broken())];
        assert_eq!(shut_by(&outcomes), Some((Status::Failed, "03 attention".into())));
    }
}
