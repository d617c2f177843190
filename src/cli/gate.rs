//! Judges a path before its first token is generated, unless exactly this path has passed before.

use rbees_check::Result;
use rbees_check::judge::{Gate, GeneratingPath, Outcome};

use super::device;
use super::progress::Progress;
use super::results::rendered;
use super::stderr::say;
use super::verdicts::VerdictKey;

/// Judges the path, and stores that it has passed. A stored verdict counts as if it had been reached now.
pub fn judge_path(path: &GeneratingPath<'_>, prompt: &[u32], verbose: u8) -> Result<Gate> {
    let key = key(path)?;
    if key.as_ref().is_some_and(VerdictKey::passed) {
        return Ok(Gate::Open);
    }
    let (gate, _) = judge_now(path, prompt, verbose)?;
    if let (Gate::Open, Some(key)) = (&gate, key) {
        key.remember()
            .unwrap_or_else(|error| say(&format!("note: the verdict could not be stored: {error}")));
    }
    Ok(gate)
}

/// What a stored verdict on this path depends on; `None` if the model has no references.
///
/// # Errors
/// The weights or references cannot be read.
pub fn key(path: &GeneratingPath<'_>) -> Result<Option<VerdictKey>> {
    let GeneratingPath { model, device, dtype, path: on } = *path;
    let key = |fixture| VerdictKey::new(model, fixture, device::name(device), dtype.as_str(), on.name());
    model.fixture.as_ref().map(key).transpose()
}

/// Judges the path, whatever is stored. Returns also the outcome of each checkpoint.
pub fn judge_now(path: &GeneratingPath<'_>, prompt: &[u32], verbose: u8) -> Result<(Gate, Vec<Outcome>)> {
    let progress = Progress::start(match path.model.fixture {
        Some(_) => "reading references: the path is judged once, before it first generates",
        None => "checking the cache and three layers on the prompt",
    });
    let mut outcomes = Vec::new();
    let gate = path.gate(prompt, |outcome| {
        progress.now(&format!("judging before the first generation: {} done", outcome.checkpoint.id));
        if verbose > 0 {
            progress.aside(|| say(rendered(outcome, verbose - 1).trim_end()));
        }
        outcomes.push(outcome.clone());
    })?;
    Ok((gate, outcomes))
}
