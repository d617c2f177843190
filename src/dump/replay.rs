//! Replay: every operation computed again from the port's own recorded inputs. What does not follow from
//! them is that operation's own fault, however wrong they are themselves.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::DType;

use super::form::Held;
use super::judged::judge_of;
use super::operation::{Machine, Placed};
use super::orders::{ORDERS, Rough};
use super::theory::Theory;
use super::truth::{finding, judged_as};
use super::{Against, Dump, naming};
use crate::Result;
use crate::compare::Noise;
use crate::judge::rows::{Said, Wanted, hold};
use crate::judge::{Finding, Status, Verdict};
use crate::oracle::Rows;
use crate::probe::{Kind, Site};

/// An operation that does not follow from its inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Guilt {
    /// Where that shows.
    pub site: Site,
    /// The operations since what was recorded before it, itself last: one of these.
    pub among: Vec<Site>,
}

/// What stands at a site: recorded, or computed since what was.
pub(super) struct Value {
    pub placed: Placed,
    /// The same in each order of summation; none where it was recorded.
    pub runs: Vec<Placed>,
    /// The operations since what was recorded.
    pub since: BTreeSet<Site>,
}

/// A site that failed, until the layer is whole and it can be looked into.
pub(super) struct Red {
    pub held: Held,
    pub theory: Theory,
    /// The operations that may have done it, itself last.
    pub since: BTreeSet<Site>,
    pub place: usize,
}

/// All findings, and the first operation that is at fault.
pub(super) struct Replayed {
    pub findings: Vec<Finding>,
    pub guilty: Option<Guilt>,
    /// Sites that were recorded and could not be computed again.
    pub unjudged: Vec<Site>,
}

/// Replays what `held` gives of each site, `layers` of them.
pub(super) fn replay(
    dump: &Dump,
    against: &Against<'_>,
    layers: usize,
    held: &dyn Fn(Site) -> Result<Option<Held>>,
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
        let recorded = held(site)?;
        this.step(site, recorded, &mut replayed, &mut reds)?;
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
    dump: &Dump,
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

pub(super) struct Replay<'a> {
    pub dump: &'a Dump,
    pub against: &'a Against<'a>,
    pub layers: usize,
    pub machine: &'a Machine<'a>,
    rough: Rough<'a>,
    pub values: BTreeMap<Site, Value>,
    /// Of the projections of this layer, which are mistaken for each other.
    pub theories: BTreeMap<Site, Placed>,
}

impl<'a> Replay<'a> {
    fn new(dump: &'a Dump, against: &'a Against<'a>, layers: usize, machine: &'a Machine<'a>) -> Self {
        let rough = Rough { machine, dtype: judged_as(dump.dtype) };
        let (values, theories) = (BTreeMap::new(), BTreeMap::new());
        Self { dump, against, layers, machine, rough, values, theories }
    }

    fn step(
        &mut self,
        site: Site,
        recorded: Option<Held>,
        replayed: &mut Replayed,
        reds: &mut Vec<Red>,
    ) -> Result<()> {
        let places = &self.machine.tokens.places;
        let of = recorded
            .as_ref()
            .map(|held| places.iter().copied().filter(|&p| held.holds(p)).collect::<Vec<_>>());
        let computed = self.compute(site, of.as_deref())?;
        let Some(held) = recorded else {
            if let Some(value) = computed {
                self.values.insert(site, value);
            }
            return Ok(());
        };
        let places = of.unwrap_or_default();
        match computed {
            None => replayed.unjudged.push(site),
            Some(value) => {
                let theory = Theory::of(site.kind, &value, self.machine);
                let verdict = self.verdict(&held, &theory)?;
                let drive = match value.since.len() {
                    1 => "replay".to_owned(),
                    n => format!("replay of {n} operations"),
                };
                let found = finding(site, "", &drive, verdict);
                let failed = found.status() == Status::Failed;
                if failed && replayed.guilty.is_none() {
                    replayed.guilty = Some(Guilt { site, among: value.since.iter().copied().collect() });
                }
                if site.kind.is_product() {
                    self.theories.insert(site, theory.placed.clone());
                }
                if failed {
                    let place = replayed.findings.len();
                    reds.push(Red { held: held.clone(), theory, since: value.since, place });
                }
                replayed.findings.push(found);
            }
        }
        let placed = Placed { rows: held.rows(&places)?, places };
        self.values.insert(site, Value { placed, runs: vec![], since: BTreeSet::new() });
        Ok(())
    }

    /// What follows at `site` from what stands at its inputs, at `places` if only some are wanted.
    fn compute(&self, site: Site, places: Option<&[(usize, usize)]>) -> Result<Option<Value>> {
        let inputs = site.inputs(self.layers);
        let Some(inputs) = inputs.iter().map(|input| self.values.get(input)).collect::<Option<Vec<_>>>()
        else {
            return Ok(None);
        };
        // The head is the largest matrix: only for the rows that are asked for.
        let cut = |placed: &Placed| match places.filter(|_| site.kind == Kind::Logits) {
            Some(places) => placed.only(places),
            None => placed.clone(),
        };
        let exact: Vec<Placed> = inputs.iter().map(|value| cut(&value.placed)).collect();
        let Some(placed) = self.machine.compute(site, &exact.iter().collect::<Vec<_>>())? else {
            return Ok(None);
        };
        let runs: Vec<Vec<Placed>> = (0..ORDERS)
            .map(|n| inputs.iter().map(|value| cut(value.runs.get(n).unwrap_or(&value.placed))).collect())
            .collect();
        let runs: Vec<Vec<&Placed>> = runs.iter().map(|run| run.iter().collect()).collect();
        let Some(runs) = self.rough.compute(site, &runs)? else { return Ok(None) };
        let mut since: BTreeSet<Site> = inputs.iter().flat_map(|value| value.since.iter().copied()).collect();
        since.insert(site);
        Ok(Some(Value { placed, runs, since }))
    }

    fn verdict(&self, held: &Held, theory: &Theory) -> Result<Said> {
        let shape = held.shape();
        let width = shape.heads.unwrap_or(1) * shape.width;
        if theory.placed.rows.width != width {
            return Ok(Verdict::Shape { got: vec![width], want: vec![theory.placed.rows.width] }.into());
        }
        let wanted: Vec<Wanted<'_>> = (0..theory.placed.places.len())
            .filter(|&r| held.holds(theory.placed.places[r]))
            .map(|r| Wanted {
                place: theory.placed.places[r],
                query: theory.placed.places[r].1 - held.first,
                want: theory.placed.rows.row(r),
                noise: Some(theory.noise[r]),
            })
            .collect();
        let (_, factor) = judge_of(held.site.kind);
        let terms = self.against.terms(self.dump.dtype, factor);
        let columns = held.layout.columns(shape.width);
        hold(&held.tensor, shape, &wanted, &terms, columns.as_deref())
    }

    /// What no later layer is computed from, and no operation that is still to be judged.
    fn forget(&mut self, site: Site) {
        self.theories.clear();
        let open = self.values.get(&site).map(|value| value.since.clone()).unwrap_or_default();
        let begins = |site: Site| site.inputs(self.layers).into_iter().filter(|input| !open.contains(input));
        let kept: BTreeSet<Site> = open.iter().flat_map(|&site| begins(site)).chain([site]).collect();
        self.values.retain(|other, _| kept.contains(other));
    }
}

impl Placed {
    /// The rows that stand at `places`, as far as it has them.
    pub(super) fn only(&self, places: &[(usize, usize)]) -> Self {
        let kept: Vec<usize> = (0..self.places.len()).filter(|&r| places.contains(&self.places[r])).collect();
        Self {
            rows: Rows::new(self.rows.width, kept.iter().flat_map(|&r| self.rows.row(r).to_vec()).collect()),
            places: kept.iter().map(|&r| self.places[r]).collect(),
        }
    }
}

/// The dtype by which suspects round what they are fed.
pub(super) fn fed_as(dump: &Dump) -> DType {
    judged_as(dump.dtype)
}
