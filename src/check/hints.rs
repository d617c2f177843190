//! Hints for a port that is right but was described to `Check` wrongly.

use std::collections::BTreeMap;

use super::judging::Judging;
use super::kinds::short;
use crate::Result;
use crate::judge::{Outcome, Status, Traits, Verdict};
use crate::probe::{Kind, Layout, Site};
use crate::recording::{Axes, Sizes};
use crate::reference::Feed;

/// Axis orders that ports are known to use.
const AXES: [&str; 7] = ["b s h d", "b h s d", "b s w", "s w", "h s d", "s h d", "h s t"];

/// Descriptions that would make the port pass, one line each. `unnamed`: something is wrong, and without
/// weights the mistake cannot be named.
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
                    format!("{site} is {got}: if the port computes in {got}, call `.dtype(DType::{named})`");
                hints.entry(site.kind).or_insert(hint);
            }
            Verdict::Differs(_) => {
                let new = site.kind.has_rotated_columns() && !side_by_side.contains(&site.kind);
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
            "elements i and i + head_dim/2 are side by side in {kinds}, which are correct in that order: call `.interleaved()`"
        ));
    }
    if unnamed {
        hints.push("to name the mistake, the model's weights are needed: call `.weights(&weights)`".into());
    }
    Ok(hints)
}

/// Axes under which the port's tensor would have the expected shape.
fn axes(judging: &Judging<'_>, site: Site, want: &[usize]) -> Option<String> {
    let kind = site.kind;
    let heads = judging.case.rows(site).map(|rows| rows.row_shape[0]).filter(|_| kind.by_head());
    let sizes = Sizes { batch: Some(judging.case.batch()), heads };
    let tensor = judging.runs.own.tape.recording.handed(site)?;
    let fits = |text: &&&str| {
        let axes = Axes::parse(kind, text).ok();
        axes.and_then(|axes| axes.to_reference(kind, tensor, sizes)).is_some_and(|there| there.dims() == want)
    };
    let text = AXES.iter().find(fits)?;
    Some(format!(
        "the shape of {site} matches the axes `{text}`: if these are its axes, call `.axes(Kind::{kind:?}, \"{text}\")`"
    ))
}

/// Does the port's own tensor of this kind match everywhere if its rows are read as interleaved?
fn interleaved(judging: &Judging<'_>, kind: Kind, factor: f64) -> Result<bool> {
    let rope = |kind: Kind| matches!(kind, Kind::QRope | Kind::KRope);
    let Some(rotated) = judging.case.sites().find(|site| rope(site.kind)) else { return Ok(false) };
    let Some(&head_dim) = judging.case.rows(rotated).and_then(|rows| rows.row_shape.last()) else {
        return Ok(false);
    };
    let layouts = vec![(kind, Layout::Interleaved { head_dim })];
    let traits = Traits { layouts, ..judging.traits.clone() };
    let findings = Judging { traits: &traits, ..*judging }.look(kind, Feed::Own, factor, None)?;
    Ok(!findings.is_empty() && findings.iter().all(|finding| finding.status() == Status::Passed))
}
