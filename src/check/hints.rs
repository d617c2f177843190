//! What to say to `Check` where the port is right and was only described wrongly.

use std::collections::BTreeMap;

use super::judging::Judging;
use super::kinds::{INTERLEAVED, short};
use crate::Result;
use crate::judge::{Outcome, Status, Traits, Verdict};
use crate::probe::{Kind, Layout, Site};
use crate::recording::Axes;
use crate::reference::Feed;

/// Axes that ports are known to have.
const AXES: [&str; 7] = ["b s h d", "b h s d", "b s w", "s w", "h s d", "s h d", "h s t"];

/// What another description would put right, a line each. `unnamed`: something is wrong, and without
/// weights it cannot be said which mistake it is.
pub(super) fn of(judging: &Judging<'_>, outcomes: &[Outcome], unnamed: bool) -> Result<Vec<String>> {
    let mut hints: BTreeMap<Kind, String> = BTreeMap::new();
    let mut side_by_side = Vec::new();
    for (outcome, finding) in outcomes.iter().flat_map(|o| o.failures().map(move |f| (o, f))) {
        let Some(site) = finding.site else { continue };
        match &finding.verdict {
            Verdict::Shape { want, .. } => {
                if let Some(hint) = axes(judging, site, want) {
                    hints.entry(site.kind).or_insert(hint);
                }
            }
            Verdict::LowerPrecision { got, .. } => {
                let named = got.to_ascii_uppercase();
                let hint =
                    format!("{site} is {got}: if the port computes in it, say `.dtype(DType::{named})`");
                hints.entry(site.kind).or_insert(hint);
            }
            Verdict::Differs(_) => {
                let new = INTERLEAVED.contains(&site.kind) && !side_by_side.contains(&site.kind);
                if new && interleaved(judging, site.kind, outcome.checkpoint.factor().unwrap_or(0.0))? {
                    side_by_side.push(site.kind);
                }
            }
            Verdict::Pass(_)
            | Verdict::TooWide { .. }
            | Verdict::Incomparable
            | Verdict::NeverReached
            | Verdict::Unclaimed
            | Verdict::Broken(_) => {}
        }
    }
    let mut hints: Vec<String> = hints.into_values().collect();
    if !side_by_side.is_empty() {
        let kinds: Vec<&str> = side_by_side.into_iter().map(short).collect();
        let kinds = kinds.join(", ");
        hints.push(format!(
            "i and i + head_dim/2 lie side by side in {kinds}, which are right so: say `.interleaved()`"
        ));
    }
    if unnamed {
        hints.push("with the model's weights mistakes are named: say `.weights(&weights)`".into());
    }
    Ok(hints)
}

/// The axes under which the port's tensor would have the shape it should have.
fn axes(judging: &Judging<'_>, site: Site, want: &[usize]) -> Option<String> {
    let kind = site.kind;
    let heads = judging.case.truth(site).map(|truth| truth.row_shape[0]).filter(|_| kind.by_head());
    let tensor = judging.runs.own.tape.recording.handed(site)?;
    let fits = |text: &&&str| {
        let axes = Axes::parse(kind, text).ok();
        axes.and_then(|axes| axes.to_reference(kind, tensor, heads)).is_some_and(|there| there.dims() == want)
    };
    let text = AXES.iter().find(fits)?;
    Some(format!("{site} has the shape of `{text}`: if so, say `.axes(Kind::{kind:?}, \"{text}\")`"))
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
