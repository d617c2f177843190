//! What a case can check: which of its sites and rows a view judges, and the input it is run on.

use crate::checkpoints::View;
use crate::compare::Scale;
use crate::model::Input;
use crate::port::Traits;
use crate::probe::{Arithmetic, Kind, Site};
use crate::reference::{Feed, Place, Reference};

/// Is `site` of `case` judged in this view?
pub(super) fn is_judged(view: &View, case: &Reference, site: Site, traits: &Traits) -> bool {
    view.kinds.contains(&site.kind) && can_judge(view.feed, case, site, traits)
}

/// Can `case` judge `site` under this feed? With reference inputs at every site, an operation can be judged only
/// if the case also stores its inputs; with reference inputs at each block, only if the case stores the block's
/// input.
pub(super) fn can_judge(feed: Feed, case: &Reference, site: Site, traits: &Traits) -> bool {
    let Some(reference) = case.rows_on(traits.arithmetic, feed, site) else { return false };
    traits.shows(site.kind)
        && match feed {
            Feed::Site => reference.places.iter().any(|&place| clean(case, site, place, traits)),
            Feed::Block => site.block_input().is_none_or(|input| case.rows(input).is_some()),
            Feed::Own => true,
        }
}

/// The largest difference between the quantised and the dense reference at the sites of these views: the
/// effect of rounding the activations. `None` if the two do not differ.
pub(super) fn distance(case: &Reference, arithmetic: Arithmetic, views: &[View]) -> Option<String> {
    let seen = |&(feed, site): &(Feed, Site)| {
        views.iter().any(|view| view.feed == feed && view.kinds.contains(&site.kind))
    };
    let from_plain = |(feed, site)| {
        let (rounded, plain) = (case.rows_on(arithmetic, feed, site)?, case.rows(site)?);
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
        "the {name} reference differs from the dense one by up to {:.2}% of a row's scale: {site} ({case})",
        far * 100.0
    ))
}

/// With reference inputs at every site: is this row of `site` computed from reference values only? Scores use
/// every key and a context uses every value; the other operations work row by row.
pub(super) fn clean(case: &Reference, site: Site, place: Place, traits: &Traits) -> bool {
    traits.inputs(site).into_iter().all(|input| {
        let Some(reference) = case.rows(input) else { return false };
        match (site.kind, input.kind) {
            (Kind::Scores, Kind::KRope) | (Kind::Context, Kind::VProj) => {
                reference.places.len() == case.places().len()
            }
            _ => reference.places.binary_search(&place).is_ok(),
        }
    })
}

/// The whole case as the input of one prefill.
pub(crate) fn input(case: &Reference) -> Input {
    let mut real = vec![vec![false; case.length()]; case.batch()];
    case.places().iter().for_each(|&(batch, position)| real[batch][position] = true);
    Input { ids: case.manifest.ids.clone(), positions: case.manifest.position_ids.clone(), real }
}
