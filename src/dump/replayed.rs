//! Replays a recorded pass from its first site to its last.

use std::collections::{BTreeMap, BTreeSet};

use super::engine::Engine;
use super::failed_site::FailedSite;
use super::measured_noise::NoiseByPlace;
use super::reference::finding;
use super::replay::{Replay, SAMPLED, Way};
use super::value::Value;
use super::{Against, naming};
use crate::Result;
use crate::checkpoints::judge_of;
use crate::graph::NodeId;
use crate::judge::rows::{Compared, ExpectedRow, RowComparison};
use crate::judge::{Drive, Finding, Status, Verdict};
use crate::probe::{Kind, Site};
use crate::recording::{Recording, SiteTensor};
use crate::reference::Place;

/// An operation whose output is wrong given its inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct FirstWrong {
    /// The site at which the error shows.
    pub site: Site,
    /// The operations since the last recorded sites, ending with this site: one of these introduced the
    /// error.
    pub among: Vec<Site>,
}

/// All findings, and the first wrong operation.
#[derive(Default)]
pub(super) struct Replayed {
    pub findings: Vec<Finding>,
    pub first_wrong: Option<FirstWrong>,
    /// Sites that were recorded but could not be recomputed.
    pub unjudged: Vec<Site>,
}

/// Replays every site of `layers` layers. `of` is the name of the recording, if there are two.
pub(super) fn replay(
    dump: &Recording,
    against: &Against<'_>,
    layers: usize,
    of: Option<&str>,
) -> Result<Replayed> {
    let mut replayed = Replayed::default();
    let Some(engine) = Engine::new(dump, against, layers)? else { return Ok(replayed) };
    let mut this = Replay::new(dump, against, &engine);
    let mut failed_sites: Vec<FailedSite> = Vec::new();
    let last = dump.sites().filter_map(|site| engine.node(site)).max();
    for id in engine.graph.ids().take_while(|&id| Some(id) <= last) {
        step(&mut this, id, of, &mut replayed, &mut failed_sites)?;
        if ends_a_layer(&engine, id) || Some(id) == last {
            naming::explain(&this, std::mem::take(&mut failed_sites), &mut replayed.findings);
            this.forget(id);
        }
    }
    Ok(replayed)
}

/// The error of correct arithmetic at each of the `wanted` sites and at each token, for a whole pass over the
/// recording's prompt in its dtype. No recorded value is used. Empty if weights are missing.
pub(super) fn own_noise(
    dump: &Recording,
    against: &Against<'_>,
    layers: usize,
    wanted: &BTreeSet<Site>,
) -> Result<BTreeMap<Site, NoiseByPlace>> {
    let mut all = BTreeMap::new();
    let Some(engine) = Engine::new(dump, against, layers)? else { return Ok(all) };
    let mut this = Replay::new(dump, against, &engine);
    let last = wanted.iter().filter_map(|&site| engine.node(site)).max();
    for id in engine.graph.ids().take_while(|&id| Some(id) <= last) {
        let site = engine.site(id).filter(|site| wanted.contains(site));
        let Some(way) = this.way(id) else { continue };
        let noise = if Some(id) == last || engine.on_the_way(id) {
            if site.is_none() {
                continue;
            }
            this.noise(id, &this.measured(id, &way, &this.places)?, &this.places)
        } else {
            let Some((value, noise)) = this.computed(id, &way)? else { continue };
            this.keep(id, value);
            noise
        };
        all.extend(site.map(|site| (site, noise)));
        if ends_a_layer(&engine, id) {
            this.forget(id);
        }
    }
    Ok(all)
}

/// Is this the last node of its layer, or a node outside the layers?
fn ends_a_layer(engine: &Engine<'_>, id: NodeId) -> bool {
    engine.site(id).is_some_and(|site| site.kind == Kind::Block || !site.kind.in_layer())
}

/// Recomputes one node and compares the recorded tensor with it.
fn step(
    this: &mut Replay<'_>,
    id: NodeId,
    recording: Option<&str>,
    replayed: &mut Replayed,
    failed_sites: &mut Vec<FailedSite>,
) -> Result<()> {
    let site = this.engine.site(id);
    let recorded = site.map_or(Ok(None), |site| this.dump.fit(site, this.against))?;
    let way = this.way(id);
    let (Some(site), Some(recorded)) = (site, recorded) else {
        let way = way.filter(|_| !this.engine.on_the_way(id));
        let computed = way.map_or(Ok(None), |way| this.computed(id, &way))?;
        computed.into_iter().for_each(|(value, _)| this.keep(id, value));
        return Ok(());
    };
    match way.map_or(Ok(None), |way| compare_with_replay(this, id, &recorded, &way))? {
        None => replayed.unjudged.push(site),
        Some((verdict, noise)) => {
            let since = this.since(id);
            let drive = Drive::Replay { of: recording.map(str::to_owned), operations: since.len() };
            let found = finding(site, "", drive, verdict);
            if found.status() == Status::Failed {
                let among = since;
                replayed.first_wrong.get_or_insert(FirstWrong { site, among });
                failed_sites.push(FailedSite {
                    id,
                    recorded: recorded.clone(),
                    noise,
                    place: replayed.findings.len(),
                });
            }
            replayed.findings.push(found);
        }
    }
    if recorded.width() == this.engine.width(id) {
        this.keep(id, Value::Recorded(recorded));
    }
    Ok(())
}

/// The result of comparing a recorded tensor with its recomputation, and the error of correct arithmetic at
/// each row that can be computed; `None` if no row can.
fn compare_with_replay(
    this: &Replay<'_>,
    id: NodeId,
    recorded: &SiteTensor,
    way: &Way,
) -> Result<Option<(Compared, NoiseByPlace)>> {
    let (own, width) = (recorded.width(), this.engine.width(id));
    if own != width {
        return Ok(Some((Verdict::Shape { got: vec![own], want: vec![width] }.into(), NoiseByPlace::new())));
    }
    let places: Vec<Place> = this.places.iter().copied().filter(|&place| recorded.holds(place)).collect();
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

/// Compares a recorded tensor with the exact rows at the places of `noise`.
fn compare_tensor(
    this: &Replay<'_>,
    id: NodeId,
    recorded: &SiteTensor,
    way: &Way,
    noise: &NoiseByPlace,
) -> Result<Compared> {
    let (_, factor) = judge_of(recorded.site.kind);
    let (terms, shape) = (this.against.terms(this.dump.dtype, factor), recorded.shape());
    let columns = recorded.layout.columns(shape.width);
    let mut rows = RowComparison::new(&recorded.tensor, shape, &terms, columns.as_deref())?;
    let places: Vec<Place> = noise.keys().copied().collect();
    this.each_block(id, way, &places, |exact| {
        for (&place, want) in exact.places().iter().zip(exact.rows().iter()) {
            let noise = noise.get(&place).copied();
            rows.row(&ExpectedRow { place, query: place.1 - recorded.first, want, noise });
        }
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
