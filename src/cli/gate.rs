//! Judges a path before `generate` prints its first token, unless exactly this path has passed before.

use rbees_check::Result;
use rbees_check::judge::{Gate, GeneratingPath};

use super::device;
use super::progress::Progress;
use super::results::rendered;
use super::stderr::say;
use super::verdicts::VerdictKey;

/// Judges the path, and stores that it has passed. A stored verdict counts as if it had been reached now.
pub fn judge_path(path: &GeneratingPath<'_>, prompt: &[u32], verbose: u8) -> Result<Gate> {
    let GeneratingPath { model, device, dtype, path: on } = *path;
    let key = model
        .fixture
        .as_ref()
        .map(|fixture| VerdictKey::new(model, fixture, device::name(device), dtype.as_str(), on.name()));
    let key = key.transpose()?;
    if key.as_ref().is_some_and(VerdictKey::passed) {
        return Ok(Gate::Open);
    }
    let progress = Progress::start(match key {
        Some(_) => "reading references: the path is judged once, before it first generates",
        None => "checking the cache and three layers on the prompt",
    });
    let gate = path.gate(prompt, |outcome| {
        progress.now(&format!("judging before the first generation: {} done", outcome.checkpoint.id));
        if verbose > 0 {
            progress.aside(|| say(rendered(outcome, verbose - 1).trim_end()));
        }
    })?;
    drop(progress);
    if let (Gate::Open, Some(key)) = (&gate, key) {
        key.remember()
            .unwrap_or_else(|error| say(&format!("note: the verdict could not be stored: {error}")));
    }
    Ok(gate)
}
