//! Distinguishes a layout convention from a mistake. If the columns of q and k are in another order within
//! their heads, the same order in all heads, and attention scores still match, the order is a convention: a
//! score is a sum over the head, in any order.
//!
//! A rotation of both q and k (for example every position one too high) also leaves the scores unchanged. It
//! is not a permutation and stays a mistake, because it breaks as soon as a cache or a batch counts
//! differently.

use std::sync::Arc;

use super::judged_rows::{clean, input};
use super::recorded::{rows_of, run};
use super::sites;
use super::verdict::{Finding, Status, Verdict};
use super::watch::{Expect, Watch};
use crate::Result;
use crate::checkpoints::View;
use crate::compare::Budget;
use crate::port::{Port, Traits};
use crate::probe::{Kind, Layout, Site};
use crate::reference::{Feed, Reference, ReferenceRows};
use crate::weights::Weights;

/// The kinds of site of a port that such an order affects.
fn affected(traits: &Traits) -> impl Iterator<Item = Kind> {
    traits.kinds.iter().filter(|kind| kind.has_rotated_columns())
}

/// Could a convention explain this finding?
pub(super) fn may_be(finding: &Finding) -> bool {
    let touched = finding.site.is_some_and(|site| site.kind.has_rotated_columns());
    touched && matches!(finding.verdict, Verdict::Differs(_))
}

/// The order of a port's q and k columns. It is searched for when a finding fails that it could explain, and
/// the result then holds for every case.
#[derive(Clone, Default)]
pub(super) enum ColumnOrder {
    #[default]
    NotSearched,
    Searched(Option<Layout>),
}

impl ColumnOrder {
    /// Judges this view again if the columns of q and k have a consistent order that differs from the
    /// reference's, which any of `cases` may show. Returns the findings in that order and a note about it.
    pub fn settle(
        &mut self,
        port: &mut dyn Port,
        cases: &[Reference],
        (case, view): (&Reference, &View),
        factor: f64,
        weights: &Weights,
    ) -> Result<Option<(Vec<Finding>, String)>> {
        if let Self::NotSearched = self {
            *self = Self::Searched(found(port, cases, factor, weights.config().head_dim)?);
        }
        let Self::Searched(Some(layout)) = self else { return Ok(None) };
        let traits = with_layout(&port.traits(), layout);
        let factor = |kind: Kind| view.kinds.contains(&kind).then_some(factor);
        let findings = sites::judge_sites_as(port, &traits, case, view.feed, &factor, Some(weights))?;
        let note = format!(
            "convention, {}: q and k rows are arranged {layout}; attention scores match, so this is accepted",
            traits.path
        );
        Ok(Some((findings, note)))
    }
}

/// The order of the port's q and k if it is a convention: in that order, everything from q_proj to the scores
/// that the port computes from a block's reference input matches the reference. One case that shows it is
/// enough. A case of one token, or with references for its last tokens only, cannot show it.
fn found(port: &mut dyn Port, cases: &[Reference], factor: f64, head_dim: usize) -> Result<Option<Layout>> {
    let traits = port.traits();
    if affected(&traits).any(|kind| traits.layout(kind) != Layout::Reference) {
        return Ok(None); // the port has declared its layout
    }
    for case in cases {
        let Some(layout) = order(port, &traits, case, factor, head_dim)? else { continue };
        if scores_match(port, &with_layout(&traits, &layout), case, factor)? {
            return Ok(Some(layout));
        }
    }
    Ok(None)
}

/// The port's traits with this layout of q and k.
fn with_layout(traits: &Traits, layout: &Layout) -> Traits {
    let layouts = affected(traits).map(|kind| (kind, layout.clone())).collect();
    Traits { layouts, ..traits.clone() }
}

/// The only order of a head's columns in which the port's queries match the reference; `None` if they already
/// match. Only the first projection is examined: judging the others in that order shows whether they share
/// it.
fn order(
    port: &mut dyn Port,
    traits: &Traits,
    case: &Reference,
    factor: f64,
    head_dim: usize,
) -> Result<Option<Layout>> {
    let fed = Some((case, Feed::Site));
    let mut found = None;
    let ran = run(port, &input(case), fed, &mut |site, handed, _| {
        if site.kind == Kind::QProj && found.is_none() {
            let stored = case.rows(site).map(|reference| reference.places.clone()).unwrap_or_default();
            let fit = stored.iter().copied().filter(|&place| clean(case, site, place, traits));
            // With one row, equal values in several columns are too likely.
            let rows = rows_of(handed, site.kind, traits, fit)?.filter(|rows| rows.places.len() > 1);
            found = rows.map(|rows| (site, rows));
        }
        Ok(())
    });
    if ran.is_err() {
        return Ok(None);
    }
    let Some((site, got)) = found else { return Ok(None) };
    let Some(want) = case.rows(site).filter(|want| want.row_shape == got.row_shape) else { return Ok(None) };
    let noise = |place| case.noise_on(traits.arithmetic, Feed::Site, site, place, traits.dtype);
    let rows: Vec<(&[f64], &[f64], f64)> = (0..got.places.len())
        .filter_map(|r| {
            let at = want.places.binary_search(&got.places[r]).ok()?;
            let budget = Budget::derive(want.scale(at), noise(got.places[r])?, factor, traits.dtype);
            Some((got.row(r), want.row(at), budget.max))
        })
        .collect();
    let columns: Option<Vec<usize>> = (0..head_dim).map(|j| column(&rows, j, head_dim)).collect();
    Ok(columns.and_then(named))
}

/// The column that holds the reference's column `j`, the same in every head.
fn column(rows: &[(&[f64], &[f64], f64)], j: usize, head_dim: usize) -> Option<usize> {
    let same = |c: usize| {
        rows.iter().all(|&(got, want, budget)| {
            let mut heads = got.chunks_exact(head_dim).zip(want.chunks_exact(head_dim));
            heads.all(|(got, want)| (got[c] - want[j]).abs() <= budget)
        })
    };
    // If two columns are equal, a column's own position comes first.
    std::iter::once(j).chain(0..head_dim).find(|&c| same(c))
}

/// The layout for an order of a head's columns; `None` if it is not a permutation, or is the reference's
/// order.
pub(super) fn named(columns: Vec<usize>) -> Option<Layout> {
    let mut sorted = columns.clone();
    sorted.sort_unstable();
    let interleaved = Layout::Interleaved { head_dim: columns.len() };
    match () {
        () if !sorted.iter().copied().eq(0..columns.len()) => None,
        () if sorted == columns => None,
        () if interleaved.columns(columns.len()).as_ref() == Some(&columns) => Some(interleaved),
        () => Some(Layout::Permuted(Arc::from(columns))),
    }
}

/// Runs each block from its reference input on the port's own values, and judges q, k, their rotations and
/// the scores in this order, or the context if the path hides its scores. All of them must match.
fn scores_match(port: &mut dyn Port, traits: &Traits, case: &Reference, factor: f64) -> Result<bool> {
    let product = if traits.shows(Kind::Scores) { Kind::Scores } else { Kind::Context };
    let begins = |site: Site, place| {
        let input = site.block_input().and_then(|input| case.rows(input));
        input.is_some_and(|reference: &ReferenceRows| reference.places.binary_search(&place).is_ok())
    };
    let noise = |site, place| case.noise_on(traits.arithmetic, Feed::Block, site, place, traits.dtype);
    let judged = |site: Site| site.kind.has_rotated_columns() || site.kind == product;
    // Scores use every key, so the whole input of the block must be stored.
    let whole = |site: Site| case.places().iter().all(|&place| begins(site, place));
    let reference = |site: Site| {
        let fit = judged(site) && whole(site);
        fit.then(|| case.rows_on(traits.arithmetic, Feed::Block, site)).flatten()
    };
    let expect = Expect { reference: &reference, judges: &|_, _| true, noise: &noise, factor: &|_| factor };
    let (fed, window) = (Some((case, Feed::Block)), 0..case.length());
    let mut watch = Watch::new(expect, fed, traits, case.batch(), window);
    port.begin();
    if port.forward(&input(case), &mut watch).is_err() {
        return Ok(false);
    }
    let seen = |kind: Kind| watch.verdicts.keys().any(|site| site.kind == kind);
    let pass = |verdict: &Verdict| verdict.status() == Status::Passed;
    Ok(affected(traits).chain([product]).all(seen) && watch.verdicts.values().all(pass))
}
