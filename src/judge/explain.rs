//! Red sites → what mistake it was.

use super::claims::clean;
use super::seen::{Kept, Pads, Seen};
use super::verdict::{Finding, Verdict};
use super::window::{inside, shape};
use crate::Result;
use crate::compare::Noise;
use crate::oracle::{Rows, Tokens};
use crate::port::Traits;
use crate::probe::Site;
use crate::recording::gather;
use crate::reference::{Place, Reference, Truth};
use crate::suspects::{self, Diagnosis, Evidence, Red, Stored, Wanted};
use crate::weights::Weights;

/// What a red site is explained from.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub weights: &'a Weights,
    pub case: &'a Reference,
    pub traits: &'a Traits,
}

/// Explains each red site: two layers may have two mistakes. `truth` is what the findings were held against.
pub(super) fn explain<'t>(
    around: &Around<'_>,
    seen: &Seen,
    truth: &dyn Fn(Site) -> Option<&'t Truth>,
    noise: &dyn Fn(Site, Place) -> Option<Noise>,
    factor: f64,
    findings: &mut [Finding],
) {
    for red in seen.kept.values() {
        let first = Site { layer: red.site.layer.map(|_| 0), ..red.site };
        let first_agrees =
            findings.iter().any(|f| f.site == Some(first) && matches!(f.verdict, Verdict::Pass(_)));
        let Some(finding) = findings.iter_mut().find(|f| f.site == Some(red.site)) else { continue };
        let Some(want) = truth(red.site) else { continue };
        let explained = diagnose(around, (red, &seen.pads), want, noise, factor, first_agrees);
        finding.set_explanation(explained);
    }
}

fn diagnose(
    around: &Around<'_>,
    (red, pads): (&Kept, &Pads),
    want: &Truth,
    noise: &dyn Fn(Site, Place) -> Option<Noise>,
    factor: f64,
    first_layer_agrees: bool,
) -> Result<Option<Diagnosis>> {
    let Around { weights, case, traits } = around;
    let stored = |site: Site| {
        let truth = case.truth(site)?;
        let width = truth.row_shape.iter().product();
        let stored = Stored { rows: Rows::new(width, truth.values.clone()), places: truth.places.to_vec() };
        Some(pads.get(&site).map_or(stored.clone(), |pads| with_pads(&stored, pads)))
    };
    let known = Red {
        site: red.site,
        weights,
        dtype: traits.dtype,
        layout: traits.layout(red.site.kind),
        hides: traits.hides,
        all: Tokens::of(&case.manifest.ids, &case.manifest.position_ids, case.places().to_vec()),
        factor,
        window: red.window.clone(),
        first_layer_agrees,
    };
    let wanted = inside(want, &red.window)
        .filter(|&(_, place)| clean(case, red.site, place, traits.layers))
        .filter_map(|(r, place)| {
            Some(Wanted { place, row: seen_of(red, want, r).into(), noise: noise(red.site, place)? })
        });
    let got = |places: &[Place]| rows_of(red, traits, places);
    match Evidence::of(known, wanted, got, &stored)? {
        Some(evidence) => suspects::diagnose(&evidence).map(Some),
        None => Ok(None),
    }
}

/// Truth, and at padded places the port's own rows: those that are numbers, for from others nothing
/// follows.
fn with_pads(stored: &Stored, pads: &[(Place, Vec<f64>)]) -> Stored {
    let finite = |(_, row): &&(Place, Vec<f64>)| row.iter().all(|v| v.is_finite());
    let truth = stored.places.iter().copied().zip(stored.rows.iter().map(<[f64]>::to_vec));
    let mut rows: Vec<(Place, Vec<f64>)> = truth.chain(pads.iter().filter(finite).cloned()).collect();
    rows.sort_by_key(|(place, _)| *place);
    let (places, rows): (Vec<Place>, Vec<Vec<f64>>) = rows.into_iter().unzip();
    Stored { rows: Rows::new(stored.rows.width, rows.concat()), places }
}

/// The port's rows at these places. None where its tensor does not have the axes of its kind.
fn rows_of(red: &Kept, traits: &Traits, places: &[Place]) -> Result<Option<Rows>> {
    let kind = red.site.kind;
    let rows = gather(&red.tensor, kind, &traits.layout(kind), red.window.start, places)?;
    let rows = rows.map(|rows| rows.barred(kind, red.tensor.dtype()));
    Ok(rows.map(|rows| Rows::new(rows.row_shape.iter().product(), rows.values)))
}

/// Row `r` of what it was held against, as wide as the window has seen keys.
fn seen_of(red: &Kept, want: &Truth, r: usize) -> Vec<f64> {
    let width = shape(red.site.kind, want, &red.window, 1).width;
    let stored = want.row_shape.last().copied().unwrap_or(1);
    want.row(r).chunks_exact(stored).flat_map(|run| &run[..width]).copied().collect()
}
