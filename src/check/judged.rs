//! Judges the recordings of all runs and returns the outcomes.

use super::checked::Checked;
use super::hints;
use super::judging::{Judging, stores};
use super::runs::Runs;
use crate::judge::Traits;
use crate::models;
use crate::probe::Kind;
use crate::reference::Reference;
use crate::weights::Weights;
use crate::{Error, Result};

/// Judges everything that was handed over; failures are diagnosed with the model's weights.
pub(super) fn judge_runs(
    case: &Reference,
    mut traits: Traits,
    runs: Runs,
    weights: Option<&Weights>,
) -> Result<Checked> {
    let layers = runs.own.tape.recording.sites().filter_map(|site| site.layer).max();
    traits.layers = traits.layers.max(layers.map_or(0, |layer| usize::from(layer) + 1));
    if !runs.own.shows(Kind::Probs) {
        traits.hides = &[Kind::Scores, Kind::Probs];
    }
    let judging = Judging { case, traits: &traits, runs: &runs };
    let (mut outcomes, first) = judging.outcomes(None)?;
    let found = if first.is_some() && weights.is_none() { of_model(case) } else { Ok(None) };
    let (found, unread) = match found {
        Ok(found) => (found, None),
        Err(error) => (None, Some(format!("the model's weights could not be read: {error}"))),
    };
    let weights = weights.or(found.as_ref());
    if let (Some(first), Some(weights)) = (first, weights) {
        outcomes = judging.outcomes(Some((weights, first)))?.0;
    }
    let absent =
        Kind::ALL.iter().copied().filter(|&kind| stores(case, kind) && !runs.own.shows(kind)).collect();
    let mut hints = hints::of(&judging, &outcomes, first.is_some() && weights.is_none())?;
    hints.extend(unread);
    Ok(Checked::new(case, &traits, outcomes, absent, hints, runs.site.is_none()))
}

/// The weights that the case was captured from, if they belong to a known model that is available here.
///
/// # Errors
/// The weights are available but cannot be read.
fn of_model(case: &Reference) -> Result<Option<Weights>> {
    let Some(name) = models::NAMES.into_iter().find(|&name| name == case.manifest.model) else {
        return Ok(None);
    };
    let weights = match models::open(name) {
        Ok(model) => model.weights,
        Err(Error::Missing { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let captured = case.manifest.provenance.get("weights_sha256").and_then(|sha256| sha256.as_str());
    let same = weights.files_sha256().iter().any(|(_, sha256)| Some(sha256.as_str()) == captured);
    Ok(same.then_some(weights))
}
