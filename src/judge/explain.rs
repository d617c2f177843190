//! Red sites → what mistake it was.

use super::claims::clean;
use super::seen::{Kept, Pads, Seen};
use super::verdict::{Finding, Verdict};
use super::window::{inside, shape};
use crate::Result;
use crate::compare::{Noise, Scale};
use crate::oracle::{Rows, Tokens};
use crate::port::Traits;
use crate::probe::Site;
use crate::recording::{bar, gather};
use crate::reference::{Place, Reference, Truth};
use crate::suspects::{self, Diagnosis, Evidence, Stored};
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
        match diagnose(around, (red, &seen.pads), want, noise, factor, first_agrees) {
            Ok(explained) => finding.explained = explained,
            Err(error) => finding.unexplained = Some(error.to_string()),
        }
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
    let judged: Vec<(usize, Place, Noise)> = inside(want, &red.window)
        .filter(|&(_, place)| clean(case, red.site, place, traits.layers))
        .filter_map(|(r, place)| Some((r, place, noise(red.site, place)?)))
        .filter(|&(r, _, noise)| noise.max < 1.0 && want.scale(r) != Scale { max: 0.0, rms: 0.0 })
        .collect();
    if judged.is_empty() {
        return Ok(None);
    }
    let Some(got) = rows_of(red, traits, &judged)? else { return Ok(None) };
    let stored = |site: Site| {
        let truth = case.truth(site)?;
        let width = truth.row_shape.iter().product();
        let stored = Stored { rows: Rows::new(width, truth.values.clone()), places: truth.places.to_vec() };
        Some(pads.get(&site).map_or(stored.clone(), |pads| with_pads(&stored, pads)))
    };
    let manifest = &case.manifest;
    let tokens = |places: Vec<Place>| Tokens {
        ids: places.iter().map(|&(b, s)| manifest.ids[b][s]).collect(),
        positions: places.iter().map(|&(b, s)| manifest.position_ids[b][s]).collect(),
        length: case.length(),
        places,
    };
    let evidence = Evidence {
        site: red.site,
        weights,
        dtype: traits.dtype,
        layout: traits.layout(red.site.kind),
        hides: traits.hides,
        tokens: tokens(judged.iter().map(|&(_, place, _)| place).collect()),
        all: tokens(case.places().to_vec()),
        got,
        want: wanted(red, want, &judged),
        noise: judged.iter().map(|&(_, _, noise)| noise).collect(),
        factor,
        window: red.window.clone(),
        truth: &stored,
        first_layer_agrees,
    };
    suspects::diagnose(&evidence).map(Some)
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

/// The port's tensor at the judged rows, in the reference's order; what is barred is −inf. None where it does not
/// have the axes of its kind.
fn rows_of(red: &Kept, traits: &Traits, judged: &[(usize, Place, Noise)]) -> Result<Option<Rows>> {
    let kind = red.site.kind;
    let places: Vec<Place> = judged.iter().map(|&(_, place, _)| place).collect();
    let rows = gather(&red.tensor, kind, &traits.layout(kind), red.window.start, &places)?;
    Ok(rows.map(|mut rows| {
        if kind.over_keys() {
            bar(&mut rows.values, red.tensor.dtype());
        }
        Rows::new(rows.row_shape.iter().product(), rows.values)
    }))
}

/// What it was held against, as wide as the window has seen keys.
fn wanted(red: &Kept, want: &Truth, judged: &[(usize, Place, Noise)]) -> Rows {
    let shape = shape(red.site.kind, want, &red.window, 1);
    let stored = want.row_shape.last().copied().unwrap_or(1);
    let cut = |&(r, ..): &(usize, Place, Noise)| {
        want.row(r).chunks_exact(stored).flat_map(|run| &run[..shape.width]).copied().collect::<Vec<_>>()
    };
    Rows::new(shape.heads.unwrap_or(1) * shape.width, judged.iter().flat_map(cut).collect())
}
