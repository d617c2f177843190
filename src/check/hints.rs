//! What to say to `Check` where the port is right and was only described wrongly.

use std::collections::BTreeMap;

use super::axes::Axes;
use super::judged::{INTERLEAVED, Judging, factor};
use crate::Result;
use crate::judge::{Outcome, Status, Traits, Verdict};
use crate::probe::{Kind, Layout};
use crate::reference::Feed;

/// Axes that ports are known to have.
const AXES: [&str; 7] = ["b s h d", "b h s d", "b s w", "s w", "h s d", "s h d", "h s t"];

/// One line for every kind that is wrong, if another description would make it right.
pub(super) fn of(judging: &Judging<'_>, outcomes: &[Outcome], weights: bool) -> Result<Vec<String>> {
    let mut hints = BTreeMap::new();
    for outcome in outcomes {
        for finding in outcome.failures() {
            let Some(site) = finding.site.filter(|site| !hints.contains_key(&site.kind)) else { continue };
            let kind = site.kind;
            let hint = match &finding.verdict {
                Verdict::Shape { want, .. } => {
                    let heads =
                        judging.case.truth(site).map(|truth| truth.row_shape[0]).filter(|_| kind.by_head());
                    let tensor = &judging.runs.own.tape.tensors[&site];
                    let fits = |text: &&&str| {
                        let axes = Axes::parse(kind, text).ok();
                        let there = axes.and_then(|axes| axes.to_reference(kind, tensor, heads));
                        there.is_some_and(|there| there.dims() == want)
                    };
                    AXES.iter().find(fits).map(|text| {
                        format!(
                            "{site} has the shape of `{text}`: if so, say `.axes(Kind::{kind:?}, \"{text}\")`"
                        )
                    })
                }
                Verdict::LowerPrecision { got, .. } => Some(format!(
                    "{site} is {got}: if the port computes in it, say `.dtype(DType::{})`",
                    got.to_ascii_uppercase()
                )),
                Verdict::Differs(_) if INTERLEAVED.contains(&kind) => interleaved(
                    judging,
                    kind,
                    factor(outcome.checkpoint),
                )?
                .then(|| {
                    format!(
                        "{} has i and i + head_dim/2 side by side, and is right then: say `.interleaved()`",
                        short(kind)
                    )
                }),
                _ => None,
            };
            hints.extend(hint.map(|hint| (kind, hint)));
        }
    }
    let mut hints: Vec<String> = hints.into_values().collect();
    if !weights && outcomes.iter().any(|outcome| outcome.status() == Status::Failed) {
        hints.push("with the model's weights mistakes are named: say `.weights(&weights)`".into());
    }
    Ok(hints)
}

/// Does the port's own tensor of this kind agree everywhere once its rows are read as interleaved?
fn interleaved(judging: &Judging<'_>, kind: Kind, factor: f64) -> Result<bool> {
    let rope = |kind: Kind| matches!(kind, Kind::QRope | Kind::KRope);
    let Some(rotated) = judging.case.sites().find(|site| rope(site.kind)) else { return Ok(false) };
    let Some(&head_dim) = judging.case.truth(rotated).and_then(|truth| truth.row_shape.last()) else {
        return Ok(false);
    };
    let layouts = vec![(kind, Layout::Interleaved { head_dim })];
    let traits = Traits { layouts, ..judging.traits.clone() };
    let findings = Judging { traits: &traits, ..*judging }.look(kind, Feed::Own, factor, None)?;
    Ok(!findings.is_empty() && findings.iter().all(|finding| finding.status() == Status::Passed))
}

/// The last parts of a site's name, for a list of kinds.
pub(super) fn short(kind: Kind) -> &'static str {
    match kind {
        Kind::Block => "model.layers.N",
        kind => kind.name(),
    }
}
