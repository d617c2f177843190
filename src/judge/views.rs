//! Judges every case on every port under the views of a checkpoint.

use super::convention::{self, ColumnOrder};
use super::set_aside::{of_one_site, set_aside};
use super::subject::{Subject, side_by_side};
use super::verdict::{Finding, Outcome};
use super::{judged_rows, sites};
use crate::Result;
use crate::checkpoints::{Factor, View};
use crate::port::Port;
use crate::reference::{Feed, Reference};
use crate::weights::Weights;

/// Adds the findings and notes of all cases on all ports to `outcome`, case by case.
pub(super) fn judge_views(
    subject: &mut Subject<'_>,
    views: &[View],
    factor: &Factor,
    outcome: &mut Outcome,
) -> Result<()> {
    if let Some(feed) = subject.feed
        && views.iter().all(|view| view.feed != feed)
        && outcome.findings.is_empty()
    {
        outcome.skipped = Some(format!("judges nothing under feed {}", feed.name()));
        return Ok(());
    }
    let weights = subject.right_weights();
    let Subject { ports, cases, feed, .. } = subject;
    let judge = CaseJudge { cases, views, feed: *feed, factor: factor.times, weights: &weights };
    let by_port = side_by_side(ports, |port| {
        let mut order = ColumnOrder::default();
        cases.iter().map(|case| judge.judge_case(&mut **port, case, &mut order)).collect::<Result<Vec<_>>>()
    })?;
    let mut by_port: Vec<_> = by_port.into_iter().map(Vec::into_iter).collect();
    for _ in 0..cases.len() {
        for (findings, notes) in by_port.iter_mut().filter_map(Iterator::next) {
            outcome.findings.extend(findings);
            for note in notes {
                if !outcome.notes.contains(&note) {
                    outcome.notes.push(note);
                }
            }
        }
    }
    set_aside(outcome, "it was judged in another case", of_one_site);
    Ok(())
}

/// The cases and views that are the same for every port.
struct CaseJudge<'a> {
    cases: &'a [Reference],
    views: &'a [View],
    /// Judge under this feed only.
    feed: Option<Feed>,
    factor: f64,
    weights: &'a Weights,
}

impl CaseJudge<'_> {
    /// The findings and notes of one case on one port.
    fn judge_case(
        &self,
        port: &mut dyn Port,
        case: &Reference,
        order: &mut ColumnOrder,
    ) -> Result<(Vec<Finding>, Vec<String>)> {
        let &Self { cases, views, feed, factor, weights } = self;
        let (mut all, mut notes) = (Vec::new(), Vec::new());
        for view in views.iter().filter(|view| feed.is_none_or(|feed| feed == view.feed)) {
            // Under another feed a site's inputs are the port's own values, so a failure cannot be diagnosed.
            let to_diagnose = Some(weights).filter(|_| view.feed == Feed::Site);
            let mut findings = sites::judge_sites(port, case, view, factor, to_diagnose)?;
            if view.feed == Feed::Site
                && findings.iter().any(convention::may_be)
                && let Some((again, note)) = order.settle(port, cases, (case, view), factor, weights)?
            {
                findings = again;
                notes.push(note);
            }
            all.append(&mut findings);
        }
        let traits = port.traits();
        let hidden: Vec<&str> = views
            .iter()
            .flat_map(|view| view.kinds)
            .filter(|kind| !traits.shows(**kind))
            .map(|kind| kind.name())
            .collect();
        if !hidden.is_empty() {
            notes.push(format!("{} cannot show {}", traits.path, hidden.join(", ")));
        }
        notes.extend(judged_rows::distance(case, traits.arithmetic, views));
        Ok((all, notes))
    }
}
