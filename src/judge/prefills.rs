//! Runs each case once per feed, and judges the sites of all checkpoints in that one prefill.

use std::collections::BTreeMap;

use super::convention::{self, ColumnOrder};
use super::judged_rows::{self, input};
use super::laws::BETWEEN;
use super::sites::judge_sites;
use super::subject::{Subject, side_by_side};
use super::units::{Shard, Unit, UnitFindings};
use super::verdict::Finding;
use crate::Result;
use crate::checkpoints::{Checkpoint, View};
use crate::port::Port;
use crate::probe::Kind;
use crate::reference::{Feed, Reference};
use crate::weights::Weights;

/// What all prefills showed, by the checkpoint that judges it: one unit for each case.
#[derive(Default)]
pub(super) struct Prefills(BTreeMap<&'static str, Vec<UnitFindings>>);

/// What prefills showed for one checkpoint.
#[derive(Default)]
pub(super) struct Shown {
    pub findings: Vec<Finding>,
    pub notes: Vec<String>,
}

/// One forward pass over a case, and everything that is judged in it. Each kind of site is judged once.
pub(super) struct Prefill {
    feed: Feed,
    judged: Vec<JudgedView>,
}

/// A view, and the checkpoint that it belongs to.
#[derive(Clone, Copy)]
struct JudgedView {
    checkpoint: &'static Checkpoint,
    view: &'static View,
    factor: f64,
}

impl Prefills {
    /// Runs all cases on all ports, once per feed that `checkpoints` need; only the cases of `shard`, if it is given.
    ///
    /// # Errors
    /// Only if the harness itself cannot continue; an error of the port becomes a finding.
    pub fn run(
        subject: &mut Subject<'_>,
        checkpoints: &[&'static Checkpoint],
        shard: Option<Shard>,
    ) -> Result<Self> {
        let weights = subject.right_weights();
        let Subject { ports, cases, feed, .. } = subject;
        let plan = plan(checkpoints, *feed);
        if plan.is_empty() {
            return Ok(Self::default());
        }
        let all = cases.len();
        let takes = |n: &usize| shard.is_none_or(|shard| shard.takes(Unit::Prefills(*n), all));
        let numbers: Vec<usize> = (0..all).filter(takes).collect();
        let by_port = side_by_side(ports, |port| {
            let mut order = ColumnOrder::default();
            let mut of_case =
                |&n: &usize| judge_case(&plan, &mut **port, (cases, &cases[n]), &weights, &mut order);
            numbers.iter().map(&mut of_case).collect::<Result<Vec<_>>>()
        })?;
        let mut units: BTreeMap<&'static str, Vec<UnitFindings>> = BTreeMap::new();
        let mut by_port: Vec<_> = by_port.into_iter().map(Vec::into_iter).collect();
        for n in numbers {
            let mut of_case: BTreeMap<&'static str, UnitFindings> = BTreeMap::new();
            for (checkpoint, shown) in by_port.iter_mut().filter_map(Iterator::next).flatten() {
                let unit =
                    of_case.entry(checkpoint.id).or_insert_with(|| UnitFindings::new(checkpoint, n + 1));
                unit.findings.extend(shown.findings);
                unit.notes.extend(shown.notes);
            }
            for (id, mut unit) in of_case {
                unit.findings.iter_mut().for_each(|finding| finding.own = cases[n].is_own());
                units.entry(id).or_default().push(unit);
            }
        }
        Ok(Self(units))
    }

    /// Takes what was shown for `checkpoint`.
    pub fn take(&mut self, checkpoint: &Checkpoint) -> Vec<UnitFindings> {
        self.0.remove(checkpoint.id).unwrap_or_default()
    }
}

/// The prefills that these checkpoints need, under `feed` only if it is given.
pub(super) fn plan(checkpoints: &[&'static Checkpoint], feed: Option<Feed>) -> Vec<Prefill> {
    let mut plan: Vec<Prefill> = Vec::new();
    for &checkpoint in checkpoints {
        let Some(factor) = checkpoint.factor() else { continue };
        for view in checkpoint.views().iter().filter(|view| feed.is_none_or(|feed| feed == view.feed)) {
            let judged = JudgedView { checkpoint, view, factor };
            let free = |prefill: &&mut Prefill| {
                prefill.feed == view.feed && view.kinds.iter().all(|&kind| prefill.judges(kind).is_none())
            };
            match plan.iter_mut().find(free) {
                Some(prefill) => prefill.judged.push(judged),
                None => plan.push(Prefill { feed: view.feed, judged: vec![judged] }),
            }
        }
    }
    plan
}

impl Prefill {
    /// How many times the noise is allowed at sites of this kind; `None` if they are not judged here.
    fn judges(&self, kind: Kind) -> Option<f64> {
        self.judged.iter().find(|judged| judged.view.kinds.contains(&kind)).map(|judged| judged.factor)
    }
}

/// What one case shows on one port, by checkpoint.
pub(super) fn judge_case(
    plan: &[Prefill],
    port: &mut dyn Port,
    (cases, case): (&[Reference], &Reference),
    weights: &Weights,
    order: &mut ColumnOrder,
) -> Result<Vec<(&'static Checkpoint, Shown)>> {
    let mut all: BTreeMap<&'static str, (&'static Checkpoint, Shown)> = BTreeMap::new();
    for prefill in plan {
        fill_cache(port, case);
        // Under another feed a site's inputs are the port's own values, so a failure cannot be diagnosed.
        let to_diagnose = Some(weights).filter(|_| prefill.feed == Feed::Site);
        let factor = |kind| prefill.judges(kind);
        let found = judge_sites(port, case, prefill.feed, &factor, to_diagnose)?;
        for &JudgedView { checkpoint, view, factor } in &prefill.judged {
            let of_view = |f: &&Finding| f.site.is_none_or(|site| view.kinds.contains(&site.kind));
            let mut findings: Vec<Finding> = found.iter().filter(of_view).cloned().collect();
            let (_, shown) = all.entry(checkpoint.id).or_insert_with(|| (checkpoint, Shown::default()));
            if view.feed == Feed::Site
                && findings.iter().any(convention::may_be)
                && let Some((again, note)) = order.settle(port, cases, (case, view), factor, weights)?
            {
                findings = again;
                shown.notes.push(note);
            }
            shown.findings.append(&mut findings);
        }
    }
    for checkpoint in plan.iter().flat_map(|prefill| &prefill.judged).map(|judged| judged.checkpoint) {
        let (_, shown) = all.entry(checkpoint.id).or_insert_with(|| (checkpoint, Shown::default()));
        for note in notes(port, case, checkpoint.views()) {
            if !shown.notes.contains(&note) {
                shown.notes.push(note);
            }
        }
    }
    Ok(all.into_values().collect())
}

/// Runs the first tokens of a case, so that a cache which is not emptied afterwards shows in the next prefill.
/// If the port returns an error, so does the prefill, which reports it.
fn fill_cache(port: &mut dyn Port, case: &Reference) {
    port.begin();
    let first = 0..case.length().min(BETWEEN);
    let _ = port.forward(&input(case).slice(first), &mut ());
}

/// What the path hides of these views, and how far quantised arithmetic moves its reference.
fn notes(port: &dyn Port, case: &Reference, views: &[View]) -> Vec<String> {
    let traits = port.traits();
    let hidden: Vec<&str> = views
        .iter()
        .flat_map(|view| view.kinds)
        .filter(|kind| !traits.shows(**kind))
        .map(|kind| kind.name())
        .collect();
    let hides = (!hidden.is_empty()).then(|| format!("{} cannot show {}", traits.path, hidden.join(", ")));
    hides.into_iter().chain(judged_rows::distance(case, traits.arithmetic, views)).collect()
}
