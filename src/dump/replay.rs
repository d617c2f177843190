//! Replay: every operation computed again from the port's own recorded inputs. What does not follow from
//! them is that operation's own fault, however wrong they are themselves.

use std::collections::{BTreeMap, BTreeSet};

use super::Against;
use super::operation::{Machine, Placed};
use super::orders::{ORDERS, Rough};
use super::theory::Theory;
use super::truth::judged_as;
use super::value::Value;
use crate::Result;
use crate::checkpoints::judge_of;
use crate::judge::Verdict;
use crate::judge::rows::{Said, Wanted, hold};
use crate::probe::{Kind, Site};
use crate::recording::{Held, Recording};

/// A site that failed, until the layer is whole and it can be looked into.
pub(super) struct Red {
    pub held: Held,
    pub theory: Theory,
    /// The operations that may have done it, itself last.
    pub since: BTreeSet<Site>,
    pub place: usize,
}

pub(super) struct Replay<'a> {
    pub dump: &'a Recording,
    pub against: &'a Against<'a>,
    pub layers: usize,
    pub machine: &'a Machine<'a>,
    rough: Rough<'a>,
    pub values: BTreeMap<Site, Value>,
    /// Of the projections of this layer, which are mistaken for each other.
    pub theories: BTreeMap<Site, Placed>,
}

impl<'a> Replay<'a> {
    pub fn new(
        dump: &'a Recording,
        against: &'a Against<'a>,
        layers: usize,
        machine: &'a Machine<'a>,
    ) -> Self {
        let rough = Rough { machine, dtype: judged_as(dump.dtype) };
        let (values, theories) = (BTreeMap::new(), BTreeMap::new());
        Self { dump, against, layers, machine, rough, values, theories }
    }

    /// What follows at `site` from what stands at its inputs, at `places` if only some are wanted.
    pub fn compute(&self, site: Site, places: Option<&[(usize, usize)]>) -> Result<Option<Value>> {
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

    pub fn verdict(&self, held: &Held, theory: &Theory) -> Result<Said> {
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
    pub fn forget(&mut self, site: Site) {
        self.theories.clear();
        let open = self.values.get(&site).map(|value| value.since.clone()).unwrap_or_default();
        let begins = |site: Site| site.inputs(self.layers).into_iter().filter(|input| !open.contains(input));
        let kept: BTreeSet<Site> = open.iter().flat_map(|&site| begins(site)).chain([site]).collect();
        self.values.retain(|other, _| kept.contains(other));
    }
}
