//! Compares sites with the reference in one forward pass over a case.

use super::drive::Drive;
use super::explain::{self, CaseContext};
use super::judged_rows::{can_judge, clean, input};
use super::verdict::{Finding, Verdict};
use super::watch::{Expect, Watch};
use crate::Result;
use crate::port::{Port, Traits};
use crate::probe::{Kind, Site};
use crate::reference::{Feed, Reference};
use crate::weights::Weights;

/// Runs `case` once through `port` under `feed`, and judges the kinds of site for which `factor` says how many
/// times the noise is allowed. If the model's weights are given, failing sites are diagnosed: all of them if
/// every site gets reference inputs; otherwise only the first, because the later ones are computed from it.
pub(crate) fn judge_sites(
    port: &mut dyn Port,
    case: &Reference,
    feed: Feed,
    factor: &dyn Fn(Kind) -> Option<f64>,
    weights: Option<&Weights>,
) -> Result<Vec<Finding>> {
    let traits = port.traits();
    judge_sites_as(port, &traits, case, feed, factor, weights)
}

/// Like [`judge_sites`], with traits given by the caller instead of the port's own.
pub(super) fn judge_sites_as(
    port: &mut dyn Port,
    traits: &Traits,
    case: &Reference,
    feed: Feed,
    factor: &dyn Fn(Kind) -> Option<f64>,
    weights: Option<&Weights>,
) -> Result<Vec<Finding>> {
    let reference = |site: Site| {
        let judged = factor(site.kind).is_some() && can_judge(feed, case, site, traits);
        judged.then(|| case.rows_on(traits.arithmetic, feed, site)).flatten()
    };
    let factor = |site: Site| factor(site.kind).unwrap_or(0.0);
    let judges = |site, place| feed != Feed::Site || clean(case, site, place, traits);
    let noise = |site, place| case.noise_on(traits.arithmetic, feed, site, place, traits.dtype);
    let expect = Expect { reference: &reference, judges: &judges, noise: &noise, factor: &factor };
    let (fed, window) = (Some((case, feed)), 0..case.length());
    let mut watch = Watch::new(expect, fed, traits, case.batch(), window);
    port.begin();
    let drive = Drive::Prefill(traits.path, feed);
    if let Err(error) = port.forward(&input(case), &mut watch) {
        return Ok(vec![Finding::stopped(error, &case.manifest.case, drive)]);
    }
    let Watch { mut verdicts, incomparable, mut shares, mut diagnosis, .. } = watch;
    let finding = |site: Site| Finding {
        site: Some(site),
        case: case.manifest.case.clone(),
        drive: drive.clone(),
        incomparable: incomparable.get(&site).copied().unwrap_or(0),
        shares: shares.remove(&site),
        ..Finding::new(site.to_string(), verdicts.remove(&site).unwrap_or(Verdict::NeverReached))
    };
    let mut findings: Vec<Finding> =
        case.sites().filter(|&site| reference(site).is_some()).map(finding).collect();
    if let Some(weights) = weights {
        if feed != Feed::Site {
            let first = diagnosis.failed.keys().min().copied();
            diagnosis.failed.retain(|site, _| Some(*site) == first);
        }
        let context = CaseContext { weights, case, traits };
        explain::explain(&context, &diagnosis, &reference, &noise, &factor, &mut findings);
    }
    Ok(findings)
}
