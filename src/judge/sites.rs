//! Sites against stored truth: one forward over a case; the rest is looking.

use super::explain::{self, Around};
use super::pieces::stopped;
use super::verdict::{Finding, Verdict};
use super::watch::{Expect, Watch};
use crate::Result;
use crate::checkpoints::View;
use crate::model::Input;
use crate::port::{Port, Traits};
use crate::probe::{Kind, Site};
use crate::reference::{Feed, Place, Reference};
use crate::weights::Weights;

/// Runs `case` once through `port` under the view's feed and judges the view's kinds.
pub(super) fn judge(
    port: &mut dyn Port,
    case: &Reference,
    view: &View,
    factor: f64,
    weights: &Weights,
) -> Result<Vec<Finding>> {
    let traits = port.traits();
    let truth = |site: Site| claims(view, case, site, &traits).then(|| case.truth(site)).flatten();
    let judges = |site, place| view.feed != Feed::Site || clean(case, site, place, traits.layers);
    let noise = |site, place| case.noise(site, place, traits.dtype, view.feed);
    let mut watch = Watch {
        expect: Expect { truth: &truth, judges: &judges, noise: &noise, factor },
        fed: Some((case, view.feed)),
        traits: &traits,
        window: 0..case.length(),
        verdicts: Default::default(),
        incomparable: Default::default(),
        kept: Default::default(),
    };
    port.begin();
    let drive = format!("{}, feed {}", traits.path, view.feed.name());
    if let Err(error) = port.forward(&input(case), &mut watch) {
        return Ok(vec![stopped(error, &case.manifest.case, &drive)]);
    }
    let (mut verdicts, incomparable, kept) = (watch.verdicts, watch.incomparable, watch.kept);
    let finding = |site: Site| Finding {
        about: site.to_string(),
        site: Some(site),
        case: case.manifest.case.clone(),
        drive: drive.clone(),
        verdict: verdicts.remove(&site).unwrap_or(Verdict::NeverReached),
        incomparable: incomparable.get(&site).copied().unwrap_or(0),
        explained: None,
    };
    let mut findings: Vec<Finding> =
        case.sites().filter(|&site| truth(site).is_some()).map(finding).collect();
    // Under another feed a site's inputs are the port's own: nothing stands still to reason from.
    if view.feed == Feed::Site {
        let around = Around { weights, case, traits: &traits };
        explain::explain(&around, &kept, &truth, &noise, factor, &mut findings);
    }
    Ok(findings)
}

/// Is `site` of `case` judged in this view? Fed at every site, an operation can be judged alone only
/// where the case also stores what it is computed from; fed at blocks, only where it stores the
/// block's input.
pub(super) fn claims(view: &View, case: &Reference, site: Site, traits: &Traits) -> bool {
    let Some(truth) = case.truth(site) else { return false };
    view.kinds.contains(&site.kind)
        && traits.shows(site.kind)
        && match view.feed {
            Feed::Site => truth.places.iter().any(|&place| clean(case, site, place, traits.layers)),
            Feed::Block => site.block_input().is_none_or(|input| case.truth(input).is_some()),
            Feed::Own => true,
        }
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
pub(super) fn input(case: &Reference) -> Input {
    let mut real = vec![vec![false; case.length()]; case.batch()];
    case.places().iter().for_each(|&(batch, position)| real[batch][position] = true);
    Input { ids: case.manifest.ids.clone(), positions: case.manifest.position_ids.clone(), real }
}
