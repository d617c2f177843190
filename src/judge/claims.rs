//! What a case can show: which of its sites and rows are judged in a view, and what it is run on.

use crate::checkpoints::View;
use crate::compare::Scale;
use crate::model::Input;
use crate::port::Traits;
use crate::probe::{Arithmetic, Kind, Site};
use crate::reference::{Feed, Place, Reference};

/// Is `site` of `case` judged in this view? Fed at every site, an operation can be judged alone only
/// where the case also stores what it is computed from; fed at blocks, only where it stores the
/// block's input.
pub(super) fn claims(view: &View, case: &Reference, site: Site, traits: &Traits) -> bool {
    let Some(truth) = case.truth_on(traits.arithmetic, view.feed, site) else { return false };
    view.kinds.contains(&site.kind)
        && traits.shows(site.kind)
        && match view.feed {
            Feed::Site => truth.places.iter().any(|&place| clean(case, site, place, traits.layers)),
            Feed::Block => site.block_input().is_none_or(|input| case.truth(input).is_some()),
            Feed::Own => true,
        }
}

/// How far truth on a quantised arithmetic lies from plain truth, at most, where these views look: what
/// the rounding of activations costs. Nothing where the two do not differ.
pub(super) fn distance(case: &Reference, arithmetic: Arithmetic, views: &[View]) -> Option<String> {
    let seen = |&(feed, site): &(Feed, Site)| {
        views.iter().any(|view| view.feed == feed && view.kinds.contains(&site.kind))
    };
    let from_plain = |(feed, site)| {
        let (rounded, plain) = (case.truth_on(arithmetic, feed, site)?, case.truth(site)?);
        let of_row = |r: usize| {
            let apart = rounded.row(r).iter().zip(plain.row(r)).map(|(a, b)| a - b);
            Scale::of(apart).max / plain.scale(r).max
        };
        Some((site, (0..plain.places.len()).map(of_row).fold(0.0, f64::max)))
    };
    let (site, far) =
        case.sites_on(arithmetic).filter(seen).filter_map(from_plain).max_by(|a, b| a.1.total_cmp(&b.1))?;
    let (name, case) = (arithmetic.name(), &case.manifest.case);
    Some(format!(
        "{name} truth lies up to {:.2}% of a row's scale from dense truth: {site} ({case})",
        far * 100.0
    ))
}

/// Fed at every site, is all that this row of `site` is computed from truth? Scores look at every
/// key and a context at every value; the rest is computed row by row.
pub(super) fn clean(case: &Reference, site: Site, place: Place, layers: usize) -> bool {
    site.inputs(layers).into_iter().all(|input| {
        let Some(truth) = case.truth(input) else { return false };
        match (site.kind, input.kind) {
            (Kind::Scores, Kind::KRope) | (Kind::Context, Kind::VProj) => {
                truth.places.len() == case.places().len()
            }
            _ => truth.places.binary_search(&place).is_ok(),
        }
    })
}

/// The whole of a case as one prefill.
pub(crate) fn input(case: &Reference) -> Input {
    let mut real = vec![vec![false; case.length()]; case.batch()];
    case.places().iter().for_each(|&(batch, position)| real[batch][position] = true);
    Input { ids: case.manifest.ids.clone(), positions: case.manifest.position_ids.clone(), real }
}
