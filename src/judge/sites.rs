//! Sites against stored truth: one forward over a case; the rest is looking.

use super::explain::{self, Around};
use super::pieces::stopped;
use super::verdict::{Finding, Verdict};
use super::watch::{Expect, Watch};
use crate::Result;
use crate::checkpoints::View;
use crate::compare::Scale;
use crate::model::Input;
use crate::port::{Port, Traits};
use crate::probe::{Arithmetic, Kind, Site};
use crate::reference::{Feed, Place, Reference};
use crate::weights::Weights;

/// Runs `case` once through `port` under the view's feed and judges the view's kinds. With the model's
/// weights what is red is looked into: every kind where truth enters at every site; elsewhere the first
/// alone, since what is behind it is computed from it.
pub(crate) fn judge(
    port: &mut dyn Port,
    case: &Reference,
    view: &View,
    factor: f64,
    weights: Option<&Weights>,
) -> Result<Vec<Finding>> {
    let traits = port.traits();
    judge_as(port, &traits, case, view, factor, weights)
}

/// As [`judge`], of a port of these traits.
pub(super) fn judge_as(
    port: &mut dyn Port,
    traits: &Traits,
    case: &Reference,
    view: &View,
    factor: f64,
    weights: Option<&Weights>,
) -> Result<Vec<Finding>> {
    let truth = |site: Site| {
        let judged = claims(view, case, site, traits);
        judged.then(|| case.truth_on(traits.arithmetic, view.feed, site)).flatten()
    };
    let judges = |site, place| view.feed != Feed::Site || clean(case, site, place, traits.layers);
    let noise = |site, place| case.noise_on(traits.arithmetic, view.feed, site, place, traits.dtype);
    let mut watch = Watch {
        expect: Expect { truth: &truth, judges: &judges, noise: &noise, factor },
        fed: Some((case, view.feed)),
        traits,
        batch: case.batch(),
        window: 0..case.length(),
        verdicts: Default::default(),
        incomparable: Default::default(),
        shares: Default::default(),
        kept: Default::default(),
        pads: Default::default(),
    };
    port.begin();
    let drive = format!("{}, feed {}", traits.path, view.feed.name());
    if let Err(error) = port.forward(&input(case), &mut watch) {
        return Ok(vec![stopped(error, &case.manifest.case, &drive)]);
    }
    let Watch { mut verdicts, incomparable, mut shares, mut kept, pads, .. } = watch;
    let finding = |site: Site| Finding {
        site: Some(site),
        case: case.manifest.case.clone(),
        drive: drive.clone(),
        incomparable: incomparable.get(&site).copied().unwrap_or(0),
        shares: shares.remove(&site),
        ..Finding::new(site.to_string(), verdicts.remove(&site).unwrap_or(Verdict::NeverReached))
    };
    let mut findings: Vec<Finding> =
        case.sites().filter(|&site| truth(site).is_some()).map(finding).collect();
    if let Some(weights) = weights {
        if view.feed != Feed::Site {
            let first = kept.keys().min().copied();
            kept.retain(|site, _| Some(*site) == first);
        }
        let around = Around { weights, case, traits };
        explain::explain(&around, &explain::Seen { kept, pads }, &truth, &noise, factor, &mut findings);
    }
    Ok(findings)
}

/// Is `site` of `case` judged in this view? Fed at every site, an operation can be judged alone only
/// where the case also stores what it is computed from; fed at blocks, only where it stores the
/// block's input.
pub(crate) fn claims(view: &View, case: &Reference, site: Site, traits: &Traits) -> bool {
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
