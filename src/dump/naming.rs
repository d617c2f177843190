//! Diagnoses wrong operations of a recording: searches for the mistake that reproduces the wrong values from
//! the port's own inputs.

use super::failed_site::FailedSite;
use super::reference::judged_as;
use super::replay::Replay;
use super::value::{Reader, Value, recorded_rows};
use crate::Result;
use crate::checkpoints::judge_of;
use crate::diagnose::{self, Diagnosis, Evidence, PortTensors, ReferenceRow};
use crate::graph::NodeId;
use crate::judge::{Finding, Verdict};
use crate::oracle::Placed;
use crate::probe::Site;
use crate::reference::Place;

/// How many sites of one kind are diagnosed at most. Some mistakes are seen in the second layer only: the first one
/// starts at the embedding, and its scale cannot be determined unless it was recorded.
const ATTEMPTS: usize = 2;

/// Diagnoses the failing sites of a layer after the whole layer has been replayed: the first site of each
/// kind, and a second one if the first is unexplained.
pub(super) fn explain(replay: &Replay<'_>, failed_sites: Vec<FailedSite>, findings: &mut [Finding]) {
    for failed in failed_sites {
        let site = failed.recorded.site;
        let of_kind = findings.iter().filter(|f| f.site.is_some_and(|other| other.kind == site.kind));
        let diagnosed: Vec<&Diagnosis> = of_kind.filter_map(|f| f.explained.as_ref()).collect();
        if diagnosed.len() >= ATTEMPTS || diagnosed.iter().any(|d| !d.named.is_empty()) {
            continue;
        }
        let agrees = |f: &Finding| f.site == Some(Site { layer: site.layer.map(|_| 0), ..site });
        let first_layer_agrees = findings.iter().any(|f| agrees(f) && matches!(f.verdict, Verdict::Pass(_)));
        let place = failed.place;
        findings[place].set_explanation(diagnose(replay, &failed, first_layer_agrees));
    }
}

fn diagnose(replay: &Replay<'_>, failed: &FailedSite, first_layer_agrees: bool) -> Result<Option<Diagnosis>> {
    let (Some(weights), site) = (replay.against.weights, failed.recorded.site) else { return Ok(None) };
    let (dump, recorded, engine) = (replay.dump, &failed.recorded, replay.engine);
    let places: Vec<Place> = failed.noise.keys().copied().collect();
    let Some(way) = replay.way(failed.id) else { return Ok(None) };
    let Some(exact) = replay.exact(failed.id, &way, &places)? else { return Ok(None) };
    let before = dump.cached.iter().copied().max().unwrap_or(0).max(dump.cache().slots());
    let known = diagnose::SiteContext {
        site,
        graph: &engine.graph,
        weights,
        pass: &engine.pass,
        dtype: judged_as(dump.dtype),
        arithmetic: replay.against.arithmetic,
        layout: recorded.layout.clone(),
        hides: dump.hides(),
        factor: judge_of(site.kind).1,
        window: before..before + dump.length(),
        whole: before == 0,
        first_layer_agrees,
    };
    let rows = failed.noise.iter().filter_map(|(&place, &noise)| Some((place, exact.at(place)?, noise)));
    let wanted = rows.map(|(place, row, noise)| ReferenceRow { place, row: row.into(), noise });
    let got = |places: &[Place]| Ok(Some(recorded_rows(recorded, places)?.rows().clone()));
    match Evidence::of(known, wanted, got, &Recorded { replay })? {
        Some(evidence) => diagnose::diagnose(&evidence).map(Some),
        None => Ok(None),
    }
}

/// The values that a recorded port continued with.
struct Recorded<'a> {
    replay: &'a Replay<'a>,
}

impl PortTensors for Recorded<'_> {
    fn computes(&self, id: NodeId) -> bool {
        !self.replay.was_recorded(id)
    }

    fn cached(&self, id: NodeId) -> Option<Placed> {
        self.replay.read_cached(id, Reader::Exact).ok()?
    }

    fn at(&self, id: NodeId) -> Option<Placed> {
        let own = self.own(id)?;
        match self.cached(id) {
            Some(cached) => own.and(&cached).ok(),
            None => Some(own),
        }
    }
}

impl Recorded<'_> {
    /// The rows of this pass.
    fn own(&self, id: NodeId) -> Option<Placed> {
        if let Some(value) = self.replay.values.get(&id) {
            return value.rows(Reader::Exact, &self.replay.places).ok();
        }
        // The output of a layer that was replayed before, or will be replayed later.
        let recorded = self.replay.recorded_site(id).ok()??;
        Value::Recorded(recorded).rows(Reader::Exact, &self.replay.places).ok()
    }
}
