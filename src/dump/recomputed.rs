//! Compares a recorded tensor with what its operation gives for the recorded inputs.

use super::entrywise;
use super::measured_noise::NoiseByPlace;
use super::replay::{Replay, Way};
use super::replay_noise::SAMPLED;
use crate::Result;
use crate::checkpoints::judge_of;
use crate::graph::NodeId;
use crate::judge::Verdict;
use crate::judge::rows::{Compared, ExpectedRow, RowComparison};
use crate::probe::Kind;
use crate::recording::SiteTensor;
use crate::reference::Place;

/// The result of comparing the rows of a recorded tensor at `places` with their recomputation, and the error
/// of correct arithmetic at each row that can be computed; `None` if no row can.
pub(super) fn compare_with_replay(
    this: &Replay<'_>,
    id: NodeId,
    recorded: &SiteTensor,
    way: &Way,
    places: &[Place],
) -> Result<Option<(Compared, NoiseByPlace)>> {
    let (own, width) = (recorded.width(), this.engine.width(id));
    if own != width {
        return Ok(Some((Verdict::Shape { got: vec![own], want: vec![width] }.into(), NoiseByPlace::new())));
    }
    let places: Vec<Place> = places.iter().copied().filter(|&place| recorded.holds(place)).collect();
    let mut measured = this.sampled(id, way, &places)?;
    if measured.is_empty() {
        return Ok(None);
    }
    let mut noise = this.noise(id, &measured, &places);
    let mut compared = compare_tensor(this, id, recorded, way, &noise)?;
    let suspicious = suspicious(&compared);
    if places.len() > SAMPLED && !suspicious.is_empty() {
        // A correct row may have a larger rounding error than all sampled rows.
        if measured.extend(this.measured(id, way, &suspicious)?) {
            noise = this.noise(id, &measured, &places);
            compared = compare_tensor(this, id, recorded, way, &noise)?;
        }
    }
    Ok(Some((compared, noise)))
}

/// How many times the noise is allowed. A value that was converted when it was saved has the errors of two
/// operations, like a whole block: a lookup alone has none, so half an ulp of the conversion would be all its budget.
fn factor(this: &Replay<'_>, kind: Kind) -> f64 {
    let (_, factor) = judge_of(kind);
    if this.dump.saved.is_some() { factor.max(judge_of(Kind::Block).1) } else { factor }
}

/// Compares a recorded tensor with the exact rows at the places of `noise`.
fn compare_tensor(
    this: &Replay<'_>,
    id: NodeId,
    recorded: &SiteTensor,
    way: &Way,
    noise: &NoiseByPlace,
) -> Result<Compared> {
    let factor = factor(this, recorded.site.kind);
    let (terms, shape) = (this.against.terms(this.dump, factor), recorded.shape());
    let columns = recorded.layout.columns(shape.width);
    let mut rows = RowComparison::new(&recorded.tensor, shape, &terms, columns.as_deref())?;
    let places: Vec<Place> = noise.keys().copied().collect();
    this.each_block(id, way, &places, |exact| {
        let entries = entrywise::budgets(this, id, way, exact, factor)?;
        for (r, (&place, want)) in exact.places().iter().zip(exact.rows().iter()).enumerate() {
            let noise = noise.get(&place).copied();
            let entries = entries.as_ref().map(|entries| entries.row(r));
            rows.row(&ExpectedRow { place, query: place.1 - recorded.first, want, noise, entries });
        }
        Ok(())
    })?;
    Ok(rows.finish())
}

/// The places of the rows that use more than half of their budget: at most [`SAMPLED`], those with the
/// largest share, in ascending order.
fn suspicious(compared: &Compared) -> Vec<Place> {
    let Some(shares) = &compared.shares else { return Vec::new() };
    let mut rows: Vec<(f32, Place)> = shares
        .of_row
        .iter()
        .copied()
        .zip(shares.places.iter().copied())
        .filter(|(share, _)| *share > 0.5)
        .collect();
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut places: Vec<Place> = rows.into_iter().take(SAMPLED).map(|(_, place)| place).collect();
    places.sort_unstable();
    places
}
