//! Laws that hold for a port without any truth from outside: one prefill = chunks = token by token;
//! rows of a batch do not see each other; A, B, A; the context's end is an error.
//!
//! The port's own prefill is what the others are held against, so that a mistake which treats both
//! alike (a wrong rope pairing, say) leaves these laws alone: they fail for the cache's own mistakes.

use candle_core::{DType, Tensor};

use super::noise;
use super::pieces::{Held, Sequence, Window, record, replay, stopped};
use super::port::{Port, Traits};
use super::sites;
use super::verdict::{Finding, Verdict};
use crate::Result;
use crate::model::Input;
use crate::reference::{Feed, Place, Reference, Truth};

/// Judges every law on `case`; noise as measured for it.
///
/// On its own, a wrong port may be much more sensitive to rounding than the right model is whose
/// noise was measured: there the port's own sensitivity counts as well, so that a mistake made
/// elsewhere does not look like one of the cache.
pub(super) fn judge(port: &mut dyn Port, case: &Reference, factor: f64) -> Result<Vec<Finding>> {
    let traits = port.traits();
    let whole =
        Sequence { name: &case.manifest.case, input: sites::input(case), places: case.places().clone() };
    let shaken = match noise::shaken(port, &whole.input) {
        Ok(shaken) => shaken,
        Err(error) => return Ok(vec![stopped(error, whole.name, traits.path)]),
    };
    let measured = |site, place, feed| case.noise(site, place, traits.dtype, feed);
    let fed = Held {
        fed: Some((case, Feed::Site)),
        judges: &|site, place| sites::clean(case, site, place, traits.layers),
        noise: &|site, place| measured(site, place, Feed::Site),
        factor,
    };
    let own = Held {
        fed: None,
        // Noise was measured where truth is stored: only those rows can be held to it.
        judges: &|site, place| {
            case.truth(site).is_none_or(|truth| truth.places.binary_search(&place).is_ok())
        },
        noise: &|site, place| Some(measured(site, place, Feed::Own)?.or_larger(*shaken.get(&site)?)),
        factor,
    };
    let mut findings = same_in_pieces(port, &whole, &fed)?;
    findings.extend(same_in_pieces(port, &whole, &own)?);
    findings.extend(rows_alone(port, &whole, &own)?);
    findings.push(a_b_a(port, &whole)?);
    findings.push(context_ends(port, &whole)?);
    Ok(findings)
}

/// One prefill = chunks of it = token by token.
pub(super) fn same_in_pieces(
    port: &mut dyn Port,
    whole: &Sequence<'_>,
    held: &Held<'_>,
) -> Result<Vec<Finding>> {
    let length = whole.input.len();
    let prefill = record(port, whole, held)?;
    let tokens = (0..length).map(|position| position..position + 1).collect();
    let mut findings = Vec::new();
    for (name, windows) in [("in chunks", chunks(length)), ("token by token", tokens)] {
        if windows.len() < 2 {
            continue; // one token is already the whole
        }
        let feed = held.fed.map_or(Feed::Own, |(_, feed)| feed);
        let drive = format!("{name}, {}, feed {}", port.traits().path, feed.name());
        findings.extend(replay(port, whole, &windows, &prefill, held, &drive)?);
    }
    Ok(findings)
}

/// Uneven pieces: a first one, one of two tokens or more on a cache that is not empty, a rest.
fn chunks(length: usize) -> Vec<Window> {
    let (first, second) = (length.div_ceil(3), (2 * length).div_ceil(3));
    [0..first, first..second, second..length].into_iter().filter(|window| !window.is_empty()).collect()
}

/// Each row of a batch alone, without its padding, gives what it gave in the batch.
fn rows_alone(port: &mut dyn Port, whole: &Sequence<'_>, held: &Held<'_>) -> Result<Vec<Finding>> {
    if whole.input.batch() < 2 {
        return Ok(vec![]);
    }
    let in_batch = record(port, whole, held)?;
    let mut findings = Vec::new();
    for b in 0..whole.input.batch() {
        let first = whole.input.real[b].iter().position(|&real| real).unwrap_or(0);
        let length = whole.places.iter().filter(|(batch, _)| *batch == b).count();
        let alone = Sequence {
            name: whole.name,
            input: whole.input.row(b).slice(first..first + length),
            places: (0..length).map(|position| (0, position)).collect(),
        };
        // Over keys the columns of the batch include its padding: `context` speaks for them.
        let expected = in_batch.iter().filter(|(site, _)| !site.kind.over_keys());
        let expected = expected.map(|(&site, truth)| (site, cut_row(truth, b, first))).collect();
        let noise = |site, (_, position): Place| (held.noise)(site, (b, position + first));
        let shifted = Held { noise: &noise, ..*held };
        let drive = format!("row {b} alone, {}", port.traits().path);
        findings.extend(replay(
            port,
            &alone,
            std::slice::from_ref(&(0..length)),
            &expected,
            &shifted,
            &drive,
        )?);
    }
    Ok(findings)
}

/// What batch row `b` has of `truth`, its first token moved from index `first` to 0.
fn cut_row(truth: &Truth, b: usize, first: usize) -> Truth {
    let own = || truth.places.iter().enumerate().filter(|(_, (batch, _))| *batch == b);
    Truth {
        places: own().map(|(_, &(_, position))| (0, position - first)).collect(),
        row_shape: truth.row_shape.clone(),
        values: own().flat_map(|(r, _)| truth.row(r).iter().copied()).collect(),
    }
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
        Ok((first, _, again)) if first.len() != again.len() || first.is_empty() => {
            Verdict::Broken("logits of another shape the second time".into())
        }
        Ok((first, _, again)) => match (0..first.len()).find(|&i| first[i].to_bits() != again[i].to_bits()) {
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
    let verdict = if traits.context <= FILL {
        let (full, more) = ids.split_at(traits.context);
        match port.forward(&Input::single(full, 0), &mut ()).and_then(|logits| all_finite(&logits)) {
            Err(error) => Verdict::Broken(format!("{} tokens should fit: {error}", traits.context)),
            Ok(false) => {
                Verdict::Broken(format!("{} tokens give logits that are not finite", traits.context))
            }
            Ok(true) => refused(port, &Input::single(more, traits.context)),
        }
    } else {
        refused(port, &Input::single(&ids, 0))
    };
    port.begin();
    Ok(law("context length", whole, &traits, verdict))
}

/// Passing the context must be an error: anything else silently computes nonsense.
fn refused(port: &mut dyn Port, input: &Input) -> Verdict {
    match port.forward(input, &mut ()) {
        Err(_) => Verdict::Pass(0.0),
        Ok(_) => {
            Verdict::Broken(format!("a token past the context of {} is accepted", port.traits().context))
        }
    }
}

fn all_finite(logits: &Tensor) -> Result<bool> {
    Ok(logits.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?.iter().all(|v| v.is_finite()))
}

fn law(name: &str, whole: &Sequence<'_>, traits: &Traits, verdict: Verdict) -> Finding {
    let (case, drive) = (whole.name.to_owned(), traits.path.to_owned());
    Finding { about: name.to_owned(), site: None, case, drive, verdict }
}
