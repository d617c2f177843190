//! Diagnoses failing sites: which mistake does each one show?

use super::diagnosis_inputs::{DiagnosisInputs, FailedTensor, PaddingRows};
use super::judged_rows::clean;
use super::verdict::{Finding, Verdict};
use super::window::{inside, shape};
use crate::Result;
use crate::compare::Noise;
use crate::diagnose::{self, Diagnosis, Evidence, ReferenceRow, SiteContext};
use crate::graph::{self, Graph, NodeId};
use crate::oracle::{Pass, Placed, Rows, Slot, Token};
use crate::port::Traits;
use crate::probe::Site;
use crate::recording::gather;
use crate::reference::{Place, Reference, ReferenceRows};
use crate::weights::Weights;

/// The inputs of a diagnosis that are the same for all sites of a case.
#[derive(Clone, Copy)]
pub(super) struct CaseContext<'a> {
    pub weights: &'a Weights,
    pub case: &'a Reference,
    pub traits: &'a Traits,
}

/// Diagnoses each failing site separately, because two layers may have two different mistakes. `reference` is the
/// reference that the findings were compared with.
pub(super) fn explain<'t>(
    context: &CaseContext<'_>,
    inputs: &DiagnosisInputs,
    reference: &dyn Fn(Site) -> Option<&'t ReferenceRows>,
    noise: &dyn Fn(Site, Place) -> Option<Noise>,
    factor: &dyn Fn(Site) -> f64,
    findings: &mut [Finding],
) {
    for failed in inputs.failed.values() {
        let first = Site { layer: failed.site.layer.map(|_| 0), ..failed.site };
        let first_agrees =
            findings.iter().any(|f| f.site == Some(first) && matches!(f.verdict, Verdict::Pass(_)));
        let Some(finding) = findings.iter_mut().find(|f| f.site == Some(failed.site)) else { continue };
        let Some(want) = reference(failed.site) else { continue };
        let explained =
            diagnose(context, (failed, &inputs.padding), want, noise, factor(failed.site), first_agrees);
        finding.set_explanation(explained);
    }
}

fn diagnose(
    context: &CaseContext<'_>,
    (failed, padding): (&FailedTensor, &PaddingRows),
    want: &ReferenceRows,
    noise: &dyn Fn(Site, Place) -> Option<Noise>,
    factor: f64,
    first_layer_agrees: bool,
) -> Result<Option<Diagnosis>> {
    let CaseContext { weights, case, traits } = *context;
    let (graph, pass) = (graph::of(weights.config())?, tokens_until(case, failed.window.end)?);
    let known = SiteContext {
        site: failed.site,
        graph: &graph,
        weights,
        pass: &pass,
        dtype: traits.dtype,
        arithmetic: traits.arithmetic,
        layout: traits.layout(failed.site.kind),
        hides: traits.hides,
        factor,
        window: failed.window.clone(),
        whole: failed.window == (0..case.length()),
        first_layer_agrees,
    };
    let wanted = inside(want, &failed.window)
        .filter(|&(_, place)| clean(case, failed.site, place, traits))
        .filter_map(|(r, place)| {
            Some(ReferenceRow {
                place,
                row: cut_to_window(failed, want, r).into(),
                noise: noise(failed.site, place)?,
            })
        });
    let got = |places: &[Place]| rows_of(failed, traits, places);
    let fed = FedTensors { graph: &graph, case, traits, padding, end: failed.window.end };
    match Evidence::of(known, wanted, got, &fed)? {
        Some(evidence) => diagnose::diagnose(&evidence).map(Some),
        None => Ok(None),
    }
}

/// The tokens of a case up to slot `end`.
fn tokens_until(case: &Reference, end: usize) -> Result<Pass> {
    let slot = |b: usize, s: usize| {
        let token = Token { id: case.manifest.ids[b][s], position: case.manifest.position_ids[b][s] };
        match case.places().binary_search(&(b, s)) {
            Ok(_) => Slot::Real(token),
            Err(_) => Slot::Padding(token),
        }
    };
    Pass::new((0..case.batch()).map(|b| (0..end.min(case.length())).map(|s| slot(b, s)).collect()).collect())
}

/// What a port was fed at a site: reference values rounded to its dtype; for padding, the keys and values it
/// computed itself.
struct FedTensors<'a> {
    graph: &'a Graph,
    case: &'a Reference,
    traits: &'a Traits,
    padding: &'a PaddingRows,
    /// Slots from here on have not been processed yet.
    end: usize,
}

impl FedTensors<'_> {
    fn site(&self, id: NodeId) -> Option<Site> {
        self.graph.node(id)?.site.probed()
    }
}

impl diagnose::PortTensors for FedTensors<'_> {
    fn computes(&self, id: NodeId) -> bool {
        // A node that no port hands over is an intermediate step of an operation.
        self.site(id).is_none_or(|site| self.traits.hides.contains(&site.kind))
    }

    fn at(&self, id: NodeId) -> Option<Placed> {
        let site = self.site(id)?;
        let reference = self.case.rows(site)?;
        let stored = reference.places.iter().enumerate().map(|(r, &place)| (place, reference.row(r)));
        // Of the port's own rows, only the finite ones: nothing can be computed from NaN or infinite values.
        let padding = self.padding.get(&site).into_iter().flatten();
        let padding = padding.map(|(place, row)| (*place, &row[..]));
        let padding = padding.filter(|(_, row)| row.iter().all(|v| v.is_finite()));
        let mut rows: Vec<(Place, &[f64])> =
            stored.chain(padding).filter(|((_, slot), _)| *slot < self.end).collect();
        rows.sort_by_key(|&(place, _)| place);
        let width: usize = reference.row_shape.iter().product();
        // A row over keys has one entry per key seen so far.
        let (all, seen) = if site.kind.over_keys() {
            (self.case.length(), self.end.min(self.case.length()))
        } else {
            (width, width)
        };
        let runs = rows.iter().flat_map(|(_, row)| row.chunks_exact(all).flat_map(|run| &run[..seen]));
        let values = runs.map(|&v| diagnose::round(v, self.traits.dtype)).collect();
        let places = rows.iter().map(|&(place, _)| place).collect();
        Placed::new(Rows::new(width / all * seen, values), places).ok()
    }
}

/// The port's rows at these places. `None` if its tensor does not have the axes of its kind.
fn rows_of(failed: &FailedTensor, traits: &Traits, places: &[Place]) -> Result<Option<Rows>> {
    let kind = failed.site.kind;
    let rows = gather(&failed.tensor, kind, &traits.layout(kind), failed.window.start, places)?;
    let rows = rows.map(|rows| rows.barred(kind, failed.tensor.dtype()));
    Ok(rows.map(|rows| Rows::new(rows.row_shape.iter().product(), rows.values)))
}

/// Row `r` of the reference, cut to the keys that the window has seen.
fn cut_to_window(failed: &FailedTensor, want: &ReferenceRows, r: usize) -> Vec<f64> {
    let width = shape(failed.site.kind, want, &failed.window, 1).width;
    let stored = want.row_shape.last().copied().unwrap_or(1);
    want.row(r).chunks_exact(stored).flat_map(|run| &run[..width]).copied().collect()
}
