//! Laws that hold for a port without any truth from outside: one prefill = chunks = token by token;
//! rows of a batch do not see each other; A, B, A; the context's end is an error.
//!
//! The port's own prefill is what the others are held against, so that a mistake which treats both
//! alike (a wrong rope pairing, say) leaves these laws alone: they fail for the cache's own mistakes.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};

use super::port::{Port, Traits};
use super::sites;
use super::verdict::{Finding, Verdict};
use super::watch::{Expect, Fed, Record, Watch, Window};
use crate::compare::Noise;
use crate::model::Input;
use crate::probe::Site;
use crate::reference::{Feed, Place, Reference, Truth};
use crate::{Error, Result};

/// Judges every law on `case`; noise as measured for it.
pub(super) fn judge(port: &mut dyn Port, case: &Reference, factor: f64) -> Result<Vec<Finding>> {
    let traits = port.traits();
    let whole =
        Sequence { name: &case.manifest.case, input: sites::input(case), places: case.places().clone() };
    let mut findings = Vec::new();
    for feed in [Feed::Site, Feed::Own] {
        let noise = |site, place| case.noise(site, place, traits.dtype, feed);
        findings.extend(same_in_pieces(port, &whole, Some((case, feed)), &noise, factor)?);
    }
    let noise = |site, place| case.noise(site, place, traits.dtype, Feed::Own);
    findings.extend(rows_alone(port, &whole, &noise, factor)?);
    findings.push(a_b_a(port, &whole)?);
    findings.push(context_ends(port, &whole)?);
    Ok(findings)
}

/// Tokens to run, and where truth-like rows of them stand.
pub(super) struct Sequence<'a> {
    pub name: &'a str,
    pub input: Input,
    pub places: std::sync::Arc<[Place]>,
}

type NoiseAt<'a> = dyn Fn(Site, Place) -> Option<Noise> + 'a;

/// One prefill = chunks of it = token by token.
pub(super) fn same_in_pieces(
    port: &mut dyn Port,
    whole: &Sequence<'_>,
    fed: Option<Fed<'_>>,
    noise: &NoiseAt<'_>,
    factor: f64,
) -> Result<Vec<Finding>> {
    let length = whole.input.len();
    let prefill = record(port, whole, fed)?;
    let mut findings = Vec::new();
    for (name, windows) in
        [("in chunks", chunks(length)), ("token by token", (0..length).map(|p| p..p + 1).collect())]
    {
        if windows.len() < 2 {
            continue; // one token is already the whole
        }
        let feed = fed.map_or(Feed::Own, |(_, feed)| feed);
        let drive = format!("{name}, {}, feed {}", port.traits().path, feed.name());
        findings.extend(replay(port, whole, &windows, &prefill, fed, noise, factor, &drive)?);
    }
    Ok(findings)
}

/// Uneven pieces: a first one, one of two tokens or more on a cache that is not empty, a rest.
fn chunks(length: usize) -> Vec<Window> {
    let (first, second) = (length.div_ceil(3), (2 * length).div_ceil(3));
    [0..first, first..second, second..length].into_iter().filter(|w| !w.is_empty()).collect()
}

/// What the port itself computes at every site in one prefill.
fn record(port: &mut dyn Port, whole: &Sequence<'_>, fed: Option<Fed<'_>>) -> Result<BTreeMap<Site, Truth>> {
    let traits = port.traits();
    let window = 0..whole.input.len();
    // Noise was measured where truth is stored: hold only those rows to it.
    let places = |site: Site| match fed.and_then(|(case, _)| case.truth(site)) {
        Some(truth) => truth.places.clone(),
        None => whole.places.clone(),
    };
    let mut record = Record { fed, traits: &traits, places: &places, window, truth: BTreeMap::new() };
    port.begin();
    port.forward(&whole.input, &mut record)?;
    Ok(record.truth)
}

/// Runs the sequence window by window on one cache and holds every site against `prefill`.
#[expect(
    clippy::too_many_arguments,
    reason = "one private call: the drive, what it is held against, and how far"
)]
fn replay(
    port: &mut dyn Port,
    whole: &Sequence<'_>,
    windows: &[Window],
    prefill: &BTreeMap<Site, Truth>,
    fed: Option<Fed<'_>>,
    noise: &NoiseAt<'_>,
    factor: f64,
    drive: &str,
) -> Result<Vec<Finding>> {
    let traits = port.traits();
    let truth = |site: Site| prefill.get(&site);
    port.begin();
    let mut worst: BTreeMap<Site, Verdict> = BTreeMap::new();
    for window in windows {
        let mut watch = Watch {
            expect: Expect { truth: &truth, noise, factor },
            fed,
            traits: &traits,
            window: window.clone(),
            verdicts: BTreeMap::new(),
        };
        if let Err(error) = port.forward(&whole.input.slice(window.clone()), &mut watch) {
            return Ok(vec![stopped(error, whole.name, drive)]);
        }
        for (site, verdict) in watch.verdicts {
            let so_far = worst.entry(site).or_insert(Verdict::Pass(0.0));
            *so_far = worse(std::mem::replace(so_far, Verdict::NeverReached), verdict);
        }
    }
    let finding = |&site: &Site| Finding {
        about: site.to_string(),
        site: Some(site),
        case: whole.name.to_owned(),
        drive: drive.to_owned(),
        verdict: worst.remove(&site).unwrap_or(Verdict::NeverReached),
    };
    Ok(prefill.keys().map(finding).collect())
}

/// A port that stops where it should compute has failed: that is a verdict.
pub(super) fn stopped(error: Error, case: &str, drive: &str) -> Finding {
    let verdict = Verdict::Broken(format!("the port stops: {error}"));
    Finding { about: "forward".into(), site: None, case: case.into(), drive: drive.into(), verdict }
}

/// The first failure stays; among passes the larger share of the budget.
fn worse(a: Verdict, b: Verdict) -> Verdict {
    match (&a, &b) {
        (Verdict::Pass(x), Verdict::Pass(y)) => Verdict::Pass(x.max(*y)),
        (Verdict::Pass(_), _) => b,
        _ => a,
    }
}

/// Each row of a batch alone, without its padding, gives what it gave in the batch.
fn rows_alone(
    port: &mut dyn Port,
    whole: &Sequence<'_>,
    noise: &NoiseAt<'_>,
    factor: f64,
) -> Result<Vec<Finding>> {
    if whole.input.batch() < 2 {
        return Ok(vec![]);
    }
    let in_batch = record(port, whole, None)?;
    let mut findings = Vec::new();
    for b in 0..whole.input.batch() {
        let first = whole.input.real[b].iter().position(|&real| real).unwrap_or(0);
        let own = |&(batch, _): &Place| batch == b;
        let length = whole.places.iter().filter(|place| own(place)).count();
        let alone = Sequence {
            name: whole.name,
            input: whole.input.row(b).slice(first..first + length),
            places: (0..length).map(|position| (0, position)).collect(),
        };
        let row = |(&site, truth): (&Site, &Truth)| (site, cut_row(truth, own, &alone));
        // Over keys the columns of the batch include its padding: `context` speaks for them.
        let expected = in_batch.iter().filter(|(site, _)| !site.kind.over_keys()).map(row).collect();
        let shifted = |site, (_, position): Place| noise(site, (b, position + first));
        let drive = format!("row {b} alone, {}", port.traits().path);
        findings.extend(replay(port, &alone, &[0..length], &expected, None, &shifted, factor, &drive)?);
    }
    Ok(findings)
}

/// The rows of `truth` that one batch row has.
fn cut_row(truth: &Truth, own: impl Fn(&Place) -> bool, alone: &Sequence<'_>) -> Truth {
    let rows = truth.places.iter().enumerate().filter(|(_, place)| own(place));
    let values = rows.flat_map(|(r, _)| truth.row(r).to_vec()).collect();
    Truth { places: alone.places.clone(), row_shape: truth.row_shape.clone(), values }
}

/// A, then something else, then A again: bit for bit the same. Nothing may stay in the cache.
pub(super) fn a_b_a(port: &mut dyn Port, whole: &Sequence<'_>) -> Result<Finding> {
    let vocab = port.traits().vocab as u32;
    let mut other = whole.input.clone();
    other.ids.iter_mut().flatten().for_each(|id| *id = (*id * 7 + 1) % vocab);
    let mut run = |input: &Input| -> Result<Vec<f32>> {
        port.begin();
        Ok(port.forward(input, &mut ())?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
    };
    let runs = run(&whole.input).and_then(|a| Ok((a, run(&other)?, run(&whole.input)?)));
    let verdict = match runs {
        Err(error) => Verdict::Broken(format!("the port stops: {error}")),
        Ok((first, _, again)) => match first.iter().zip(&again).position(|(a, b)| a.to_bits() != b.to_bits())
        {
            _ if first.len() != again.len() || first.is_empty() => {
                Verdict::Broken("another shape the second time".into())
            }
            Some(at) => Verdict::Broken(format!("logit {at} is {} and then {}", first[at], again[at])),
            None => Verdict::Pass(0.0),
        },
    };
    Ok(law("A, B, A", whole, &port.traits(), verdict))
}

/// Contexts up to this length are filled to the last position; of longer ones only the refusal is
/// tried, which costs nothing.
const FILL: usize = 2048;

/// The context can be filled, and one token more is refused.
pub(super) fn context_ends(port: &mut dyn Port, whole: &Sequence<'_>) -> Result<Finding> {
    let traits = port.traits();
    let ids: Vec<u32> = whole.input.ids[0].iter().copied().cycle().take(traits.context + 1).collect();
    port.begin();
    let mut verdict = Verdict::Pass(0.0);
    if traits.context <= FILL {
        let full = Input::single(&ids[..traits.context], 0);
        verdict = match port.forward(&full, &mut ()).and_then(|logits| all_finite(&logits)) {
            Ok(true) => verdict,
            Ok(false) => {
                Verdict::Broken(format!("{} tokens give logits that are not finite", traits.context))
            }
            Err(error) => Verdict::Broken(format!("{} tokens should fit: {error}", traits.context)),
        };
        if port.forward(&Input::single(&ids[traits.context..], traits.context), &mut ()).is_ok() {
            verdict = Verdict::Broken(format!("a token past the context of {} is accepted", traits.context));
        }
    } else if port.forward(&Input::single(&ids, 0), &mut ()).is_ok() {
        verdict = Verdict::Broken(format!("a prompt past the context of {} is accepted", traits.context));
    }
    port.begin();
    Ok(law("context length", whole, &traits, verdict))
}

fn all_finite(logits: &Tensor) -> Result<bool> {
    Ok(logits.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?.iter().all(|v| v.is_finite()))
}

fn law(name: &str, whole: &Sequence<'_>, traits: &Traits, verdict: Verdict) -> Finding {
    let (case, drive) = (whole.name.to_owned(), traits.path.to_owned());
    Finding { about: name.to_owned(), site: None, case, drive, verdict }
}
