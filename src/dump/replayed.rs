//! A recorded pass, replayed from its first site to its last.

use std::collections::{BTreeMap, BTreeSet};

use super::operation::{Machine, Placed};
use super::replay::{Red, Replay};
use super::theory::Theory;
use super::truth::finding;
use super::value::Value;
use super::{Against, naming};
use crate::Result;
use crate::compare::Noise;
use crate::judge::{Drive, Finding, Status};
use crate::oracle::Rows;
use crate::probe::{Kind, Site};
use crate::recording::Recording;

/// An operation that does not follow from its inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Guilt {
    /// Where that shows.
    pub site: Site,
    /// The operations since what was recorded before it, itself last: one of these.
    pub among: Vec<Site>,
}

/// All findings, and the first operation that is at fault.
pub(super) struct Replayed {
    pub findings: Vec<Finding>,
    pub guilty: Option<Guilt>,
    /// Sites that were recorded and could not be computed again.
    pub unjudged: Vec<Site>,
}

/// Replays every site of `layers` layers. `of` is the recording's name where there are two.
pub(super) fn replay(
    dump: &Recording,
    against: &Against<'_>,
    layers: usize,
    of: Option<&str>,
) -> Result<Replayed> {
    let machine = Machine::new(dump, against);
    let mut this = Replay::new(dump, against, layers, &machine);
    let mut replayed = Replayed { findings: vec![], guilty: None, unjudged: vec![] };
    let mut reds: Vec<Red> = Vec::new();
    // A dump may end within a layer: what stands behind may be what was mistaken for it.
    let whole =
        |site: Site| Site { kind: if site.kind.in_layer() { Kind::Block } else { site.kind }, ..site };
    let last = dump.sites().max().map(whole);
    for site in sites(layers).take_while(|&site| Some(site) <= last) {
        step(&mut this, site, of, &mut replayed, &mut reds)?;
        if site.kind == Kind::Block || !site.kind.in_layer() {
            naming::explain(&this, std::mem::take(&mut reds), &mut replayed.findings);
            this.forget(site);
        }
    }
    Ok(replayed)
}

/// What honest arithmetic errs by at each site and token of a whole pass over the dump's prompt, in its
/// dtype: nothing of what was recorded is used. None where weights are missing.
pub(super) fn own_noise(
    dump: &Recording,
    against: &Against<'_>,
    layers: usize,
    last: Site,
) -> Result<BTreeMap<Site, Vec<Noise>>> {
    let machine = Machine::new(dump, against);
    let mut this = Replay::new(dump, against, layers, &machine);
    let mut noise = BTreeMap::new();
    for site in sites(layers).take_while(|&site| site <= last) {
        let Some(value) = this.compute(site, None)? else { continue };
        noise.insert(site, Theory::of(site.kind, &value, &machine).noise);
        this.values.insert(site, value);
        if site.kind == Kind::Block {
            this.forget(site);
        }
    }
    Ok(noise)
}

/// Every site of a model, in forward order.
fn sites(layers: usize) -> impl Iterator<Item = Site> {
    let inside =
        |n: usize| Kind::ALL.iter().filter(|kind| kind.in_layer()).map(move |&kind| Site::layer(n, kind));
    let ends = [Kind::FinalNorm, Kind::Logits].map(Site::model);
    std::iter::once(Site::model(Kind::Embed)).chain((0..layers).flat_map(inside)).chain(ends)
}

/// Computes one site again, and holds what was recorded there to it.
fn step(
    this: &mut Replay<'_>,
    site: Site,
    recording: Option<&str>,
    replayed: &mut Replayed,
    reds: &mut Vec<Red>,
) -> Result<()> {
    let recorded = this.dump.fit(site, this.against)?;
    let places = &this.machine.tokens.places;
    let of =
        recorded.as_ref().map(|held| places.iter().copied().filter(|&p| held.holds(p)).collect::<Vec<_>>());
    let computed = this.compute(site, of.as_deref())?;
    let Some(held) = recorded else {
        if let Some(value) = computed {
            this.values.insert(site, value);
        }
        return Ok(());
    };
    let places = of.unwrap_or_default();
    match computed {
        None => replayed.unjudged.push(site),
        Some(value) => {
            let theory = Theory::of(site.kind, &value, this.machine);
            let verdict = this.verdict(&held, &theory)?;
            let drive = Drive::Replay { of: recording.map(str::to_owned), operations: value.since.len() };
            let found = finding(site, "", drive, verdict);
            let failed = found.status() == Status::Failed;
            if failed && replayed.guilty.is_none() {
                replayed.guilty = Some(Guilt { site, among: value.since.iter().copied().collect() });
            }
            if site.kind.is_product() {
                this.theories.insert(site, theory.placed.clone());
            }
            if failed {
                let place = replayed.findings.len();
                reds.push(Red { held: held.clone(), theory, since: value.since, place });
            }
            replayed.findings.push(found);
        }
    }
    let placed = Placed { rows: Rows::new(held.width(), held.rows(&places)?), places };
    this.values.insert(site, Value { placed, runs: vec![], since: BTreeSet::new() });
    Ok(())
}
