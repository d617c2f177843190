//! Runs a sequence in one prefill and records it, then runs it again in pieces and compares.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::diagnosis_inputs::DiagnosisInputs;
use super::drive::Drive;
use super::explain::{self, CaseContext};
use super::recorded::{rows_of, run};
use super::substitute::Fed;
use super::verdict::{Finding, Verdict};
use super::watch::{Expect, Watch};
use super::window::Window;
use crate::Result;
use crate::compare::Noise;
use crate::model::Input;
use crate::port::Port;
use crate::probe::Site;
use crate::reference::{Place, ReferenceRows};

/// Tokens to run, and the place of each in the batch.
pub(super) struct Sequence<'a> {
    pub name: &'a str,
    pub input: Input,
    pub places: Arc<[Place]>,
}

/// How a run is fed and judged: the feed, which rows can be judged, how noisy they are, and how many times
/// the noise is allowed.
pub(super) struct Criteria<'a> {
    pub fed: Option<Fed<'a>>,
    pub judges: &'a dyn Fn(Site, Place) -> bool,
    pub noise: &'a dyn Fn(Site, Place) -> Option<Noise>,
    pub factor: f64,
    /// Inputs for diagnosing failing sites; set only if every site gets reference inputs.
    pub context: Option<CaseContext<'a>>,
}

/// What the port computes in one prefill, at every row that can be judged.
pub(super) fn record(
    port: &mut dyn Port,
    whole: &Sequence<'_>,
    criteria: &Criteria<'_>,
) -> Result<BTreeMap<Site, ReferenceRows>> {
    let traits = port.traits();
    let mut rows = BTreeMap::new();
    run(port, &whole.input, criteria.fed, &mut |site, handed, _| {
        let fit = whole.places.iter().copied().filter(|&place| (criteria.judges)(site, place));
        rows.extend(rows_of(handed, site.kind, &traits, fit)?.map(|recorded| (site, recorded)));
        Ok(())
    })?;
    rows.retain(|_, recorded: &mut ReferenceRows| !recorded.places.is_empty());
    Ok(rows)
}

/// Runs the sequence window by window on one cache and compares every site with `prefill`.
pub(super) fn replay(
    port: &mut dyn Port,
    whole: &Sequence<'_>,
    windows: &[Window],
    prefill: &BTreeMap<Site, ReferenceRows>,
    criteria: &Criteria<'_>,
    drive: Drive,
) -> Result<Vec<Finding>> {
    let traits = port.traits();
    let reference = |site: Site| prefill.get(&site);
    let factor = |_| criteria.factor;
    port.begin();
    let mut worst: BTreeMap<Site, Verdict> = BTreeMap::new();
    let mut incomparable: BTreeMap<Site, usize> = BTreeMap::new();
    let mut inputs = DiagnosisInputs::default();
    for window in windows {
        // Only rows that can be judged were recorded.
        let expect =
            Expect { reference: &reference, judges: &|_, _| true, noise: criteria.noise, factor: &factor };
        let mut watch = Watch::new(expect, criteria.fed, &traits, whole.input.batch(), window.clone());
        if let Err(error) = port.forward(&whole.input.slice(window.clone()), &mut watch) {
            return Ok(vec![Finding::stopped(error, whole.name, drive)]);
        }
        inputs.add(watch.diagnosis);
        watch
            .incomparable
            .into_iter()
            .for_each(|(site, rows)| *incomparable.entry(site).or_default() += rows);
        for (site, verdict) in watch.verdicts {
            let so_far = worst.remove(&site).unwrap_or(Verdict::Incomparable);
            worst.insert(site, worse(so_far, verdict));
        }
    }
    let finding = |&site: &Site| Finding {
        site: Some(site),
        case: whole.name.to_owned(),
        drive: drive.clone(),
        incomparable: incomparable.get(&site).copied().unwrap_or(0),
        ..Finding::new(site.to_string(), worst.remove(&site).unwrap_or(Verdict::NeverReached))
    };
    let mut findings: Vec<Finding> = prefill.keys().map(finding).collect();
    if let Some(context) = &criteria.context {
        explain::explain(context, &inputs, &reference, criteria.noise, &factor, &mut findings);
    }
    Ok(findings)
}

/// The first failure is kept; of two passes, the one with the larger share of the budget.
pub(super) fn worse(a: Verdict, b: Verdict) -> Verdict {
    match (&a, &b) {
        (Verdict::Pass(x), Verdict::Pass(y)) => Verdict::Pass(x.max(*y)),
        // A window without a comparable row does not change the result of the others.
        (Verdict::Pass(_), Verdict::Incomparable) => a,
        (Verdict::Incomparable, _) | (Verdict::Pass(_), _) => b,
        _ => a,
    }
}
