//! No text from a path that has not passed: what stands between `generate` and its first token.

use candle_core::Device;
use rbees_check::checkpoints::{self, How};
use rbees_check::judge::{self, LlamaPort, Outcome, Status, Subject, Verdict};
use rbees_check::model::{self, Llama};
use rbees_check::models::Model;
use rbees_check::reference::Fixture;
use rbees_check::{Error, Result};

use super::device;
use super::progress::Progress;
use super::stderr::say;
use super::told::told;
use super::verdicts::Key;

/// The path that wants to speak.
pub struct Path<'a> {
    pub model: &'a Model,
    pub device: &'a Device,
    pub dtype: candle_core::DType,
    pub path: model::Path,
}

/// What the gate says.
#[derive(Debug, PartialEq)]
pub enum Gate {
    /// Every checkpoint has passed, now or before.
    Open,
    /// Something differs, or could not be judged: which, in one line.
    Shut(Status, String),
    /// There are no references: only the laws of the cache could be judged, and hold.
    Unjudged,
}

/// Judges the path by the model's references, or by the laws alone where there are none.
pub fn judge(path: &Path<'_>, prompt: &[u32], verbose: u8) -> Result<Gate> {
    match &path.model.fixture {
        Some(fixture) => by_references(path, fixture, verbose),
        None => by_laws(path, prompt),
    }
}

fn by_references(path: &Path<'_>, fixture: &Fixture, verbose: u8) -> Result<Gate> {
    let name = path.path.name();
    let key = Key::new(path.model, fixture, device::name(path.device), path.dtype.as_str(), name)?;
    if key.passed() {
        return Ok(Gate::Open);
    }
    let progress = Progress::start("reading references: the path is judged once, before its first text");
    let mut subject = Subject::new(path.model, &fixture.cases, path.device, path.dtype, &[path.path])?;
    let outcomes = judge::run_all(&mut subject, &checkpoints::ALL, |outcome| {
        progress.now(&format!("judging before the first text: {} passed", outcome.checkpoint.id));
        if verbose > 0 {
            progress.aside(|| say(told(outcome, verbose - 1).trim_end()));
        }
    })?;
    drop(progress);
    match shut_by(&outcomes) {
        Some((status, checkpoint)) => {
            Ok(Gate::Shut(status, format!("checkpoint {checkpoint} has not passed on the {name} path")))
        }
        None => {
            key.remember()
                .unwrap_or_else(|error| say(&format!("note: the verdict is not remembered: {error}")));
            Ok(Gate::Open)
        }
    }
}

/// The first checkpoint of the worst status. Only a pass opens the gate: what was skipped has not
/// been judged.
fn shut_by(outcomes: &[Outcome]) -> Option<(Status, String)> {
    let of = |status| outcomes.iter().find(move |outcome| outcome.status() == status);
    let worst = [Status::Failed, Status::NotJudged, Status::Skipped].into_iter().find_map(of)?;
    Some((worst.status(), format!("{} {}", worst.checkpoint.id, worst.checkpoint.name)))
}

fn by_laws(path: &Path<'_>, prompt: &[u32]) -> Result<Gate> {
    let laws = checkpoints::ALL.into_iter().find_map(|checkpoint| match &checkpoint.how {
        How::Laws(factor) => Some((checkpoint, factor.times)),
        _ => None,
    });
    let (checkpoint, factor) =
        laws.ok_or_else(|| Error::input("no checkpoint judges laws", "use --unchecked"))?;
    let _progress = Progress::start("judging the laws of the cache on the prompt");
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
    fn only_passes_open_the_gate() {
        assert_eq!(shut_by(&[outcome(0, Some(Verdict::Pass(0.5)))]), None);
        let skipped = [outcome(0, Some(Verdict::Pass(0.5))), outcome(1, None)];
        assert_eq!(shut_by(&skipped), Some((Status::Skipped, "00B tokens".into())));
    }

    #[test]
    fn the_first_failure_is_named_before_what_only_waits_for_it() {
        let broken = || Some(Verdict::Broken("x".into()));
        let outcomes = [outcome(2, Some(Verdict::Incomparable)), outcome(5, broken()), outcome(7, broken())];
        assert_eq!(shut_by(&outcomes), Some((Status::Failed, "03 attention".into())));
    }
}
