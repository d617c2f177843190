//! The ways to feed a sequence to a model, and the comparison of its logits at each position of a case.

use candle_core::{DType, Result};
use rbees_check::check::{Check, Checked};
use rbees_check::judge::{Finding, Verdict};
use rbees_check::probe::{Arithmetic, Kind, Site};
use rbees_check::reference::Reference;

use crate::ports::LastLogits;

/// A name, and a function that feeds `ids` in some way and returns the logits of the last one.
pub type Way = (&'static str, fn(&mut dyn LastLogits, &[u32]) -> Result<Vec<f32>>);

pub const WAYS: [Way; 4] = [
    ("in one pass", |port, ids| {
        port.begin()?;
        port.last(ids, 0)
    }),
    ("in two chunks", |port, ids| {
        port.begin()?;
        let (first, second) = ids.split_at(ids.len() / 2);
        if !first.is_empty() {
            port.last(first, 0)?;
        }
        port.last(second, first.len())
    }),
    ("token by token", |port, ids| {
        port.begin()?;
        let steps: Result<Vec<Vec<f32>>> = (0..ids.len()).map(|at| port.last(&ids[at..=at], at)).collect();
        Ok(steps?.pop().unwrap_or_default())
    }),
    ("after another sequence", |port, ids| {
        port.begin()?;
        port.last(&[7, 8, 9, 10, 11], 0)?;
        port.begin()?;
        port.last(ids, 0)
    }),
];

/// Compares the logits at every position that the case stores with its references.
pub fn judge_logits(
    port: &mut dyn LastLogits,
    case: &Reference,
    run: (DType, Arithmetic),
    way: Way,
) -> Result<Checked> {
    let ids = &case.manifest.ids[0];
    // What a Gemma 2 returns is capped.
    let output = [Kind::CappedLogits, Kind::Logits].map(Site::model);
    let found = output.into_iter().find_map(|site| Some((site, case.rows(site)?)));
    let (site, stored) = found.expect("logits are stored");
    let vocab = stored.row_shape[0];
    let checked = Check::against(case).dtype(run.0).arithmetic(run.1).run(|probe| {
        let mut logits = vec![0.0; ids.len() * vocab];
        for &(_, position) in stored.places.iter() {
            logits[position * vocab..][..vocab].copy_from_slice(&way.1(port, &ids[..=position])?);
        }
        probe.tap_raw(site, &[1, ids.len(), vocab], &logits).map_err(candle_core::Error::from)
    })?;
    Ok(checked)
}

/// `PASS  12% of budget`, `FAIL  4.1e3 budgets`.
pub fn description(checked: &Checked) -> String {
    let findings = checked.outcomes().iter().flat_map(|outcome| &outcome.findings);
    let tell = |finding: &Finding| match &finding.verdict {
        Verdict::Pass(share) => (*share, format!("PASS  {:.0}% of budget", share * 100.0)),
        Verdict::Differs(difference) => (difference.ratio, format!("FAIL  {:.1e} budgets", difference.ratio)),
        Verdict::Incomparable => (f64::INFINITY, "INCONCLUSIVE  noise is as large as every row".to_owned()),
        other => (f64::INFINITY, format!("FAIL  {other:?}")),
    };
    let worst = findings.map(tell).max_by(|a, b| a.0.total_cmp(&b.0));
    worst.map_or_else(|| "INCONCLUSIVE  nothing was compared".to_owned(), |(_, description)| description)
}
