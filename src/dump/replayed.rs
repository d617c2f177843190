//! Replays a recorded pass from its first site to its last.

use std::collections::{BTreeMap, BTreeSet};

use super::engine::Engine;
use super::failed_site::FailedSite;
use super::measured_noise::NoiseByPlace;
use super::recomputed::compare_with_replay;
use super::reference::finding;
use super::replay::{Replay, Way};
use super::rounded::truncation;
use super::value::Value;
use super::{Against, naming};
use crate::Result;
use crate::graph::NodeId;
use crate::judge::{Drive, Finding, Status};
use crate::oracle::Placed;
use crate::probe::{Kind, Site};
use crate::recording::{Recording, SiteTensor};

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
    /// Findings about silu(gate), which is not a site.
    pub activations: Vec<Finding>,
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
    let mut add = |site: Site, _: &Placed, noise: NoiseByPlace| {
        all.entry(site).or_insert_with(NoiseByPlace::new).extend(noise);
    };
    prefill(dump, against, layers, wanted, &mut add)?;
    Ok(all)
}

/// Computes a whole pass over the recording's prompt without any recorded value, and passes the exact rows of each of
/// the `wanted` sites to `see`, with the error of correct arithmetic in the recording's dtype. Nothing is computed if
/// weights are missing.
pub(super) fn prefill(
    dump: &Recording,
    against: &Against<'_>,
    layers: usize,
    wanted: &BTreeSet<Site>,
    see: &mut dyn FnMut(Site, &Placed, NoiseByPlace),
) -> Result<()> {
    let Some(engine) = Engine::new(dump, against, layers)? else { return Ok(()) };
    let mut this = Replay::new(dump, against, &engine);
    let last = wanted.iter().filter_map(|&site| engine.node(site)).max();
    for id in engine.graph.ids().take_while(|&id| Some(id) <= last) {
        let site = engine.site(id).filter(|site| wanted.contains(site));
        let Some(way) = this.way(id) else { continue };
        if Some(id) == last || engine.on_the_way(id) {
            let Some(site) = site else { continue };
            let noise = this.noise(id, &this.measured(id, &way, &this.places)?, &this.places);
            this.each_block(id, &way, &this.places, |exact| {
                let noise = noise.iter().filter(|(place, _)| exact.at(**place).is_some());
                see(site, exact, noise.map(|(&place, &noise)| (place, noise)).collect());
                Ok(())
            })?;
        } else {
            let Some((value, noise)) = this.computed(id, &way)? else { continue };
            if let (Some(site), Value::Computed { exact, .. }) = (site, &value) {
                see(site, exact, noise);
            }
            this.keep(id, value);
        }
        if ends_a_layer(&engine, id) {
            this.forget(id);
        }
    }
    Ok(())
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
    let recorded = this.engine.recorded(this.dump, this.against, id)?;
    let way = this.way(id);
    if let (None, Some(recorded)) = (site, &recorded) {
        return activation(this, id, recorded.clone(), recording, replayed);
    }
    let (Some(site), Some(recorded)) = (site, recorded) else {
        let way = way.filter(|_| !this.engine.on_the_way(id));
        let computed = way.map_or(Ok(None), |way| this.computed(id, &way))?;
        computed.into_iter().for_each(|(value, _)| this.keep(id, value));
        return Ok(());
    };
    let compare = |way: &Way| compare_with_replay(this, id, &recorded, way, &this.places);
    match (way.as_ref().map_or(Ok(None), compare)?, way) {
        (Some((compared, noise)), Some(way)) => {
            let operations = this.since(id);
            let drive = Drive::Replay { of: recording.map(str::to_owned), operations: operations.len() };
            let mut found = finding(site, "", drive, compared);
            if found.status() == Status::Passed {
                if let Some((verdict, named)) = truncation(this, id, &recorded, &way)? {
                    (found.verdict, found.explained) = (verdict, Some(named.into()));
                }
            } else if found.status() == Status::Failed {
                let (recorded, place) = (recorded.clone(), replayed.findings.len());
                failed_sites.push(FailedSite { id, recorded, noise, place });
            }
            if found.status() == Status::Failed {
                replayed.first_wrong.get_or_insert(FirstWrong { site, among: operations });
            }
            replayed.findings.push(found);
        }
        _ => replayed.unjudged.push(site),
    }
    if recorded.width() == this.engine.width(id) {
        this.keep(id, Value::Recorded(recorded));
    }
    Ok(())
}

/// Compares silu(gate), which is not a site of its own, with what the gate gives.
fn activation(
    this: &mut Replay<'_>,
    id: NodeId,
    recorded: SiteTensor,
    recording: Option<&str>,
    replayed: &mut Replayed,
) -> Result<()> {
    let compare = |way: &Way| compare_with_replay(this, id, &recorded, way, &this.places);
    let compared = this.way(id).as_ref().map_or(Ok(None), compare)?;
    if let (Some((compared, _)), Some(node)) = (compared, this.engine.graph.node(id)) {
        let drive = Drive::Replay { of: recording.map(str::to_owned), operations: this.since(id).len() };
        let found = finding(recorded.site, "", drive, compared);
        replayed.activations.push(Finding { about: node.site.to_string(), site: None, ..found });
    }
    this.keep(id, Value::Recorded(recorded));
    Ok(())
}
