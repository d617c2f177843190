//! Laws that hold for any port without references: one prefill = chunks = token by token; rows of a batch do
//! not affect each other; A, B, A; running past the end of the context is an error.
//!
//! Everything is compared with the port's own prefill. A mistake that affects both alike (for example a wrong
//! rope pairing) does not break these laws; only mistakes of the cache do.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};

use super::drive::{Drive, Pieces};
use super::explain::CaseContext;
use super::judged_rows::{clean, input};
use super::noise;
use super::pieces::{Criteria, Sequence, record, replay};
use super::verdict::{Finding, Status, Verdict};
use super::window::Window;
use super::{left_over, sharing, unrepeatable};
use crate::Result;
use crate::compare::Noise;
use crate::diagnose;
use crate::model::Input;
use crate::port::{Port, Traits};
use crate::probe::{Arithmetic, Site};
use crate::reference::{Feed, Place, Reference, ReferenceRows};
use crate::weights::Weights;

/// Judges every law on `case`, with the noise measured for it; those of steps that it shares with others if it is
/// `shared`.
pub(super) fn judge_laws(
    port: &mut dyn Port,
    case: &Reference,
    factor: f64,
    weights: &Weights,
    shared: bool,
) -> Result<Vec<Finding>> {
    let traits = port.traits();
    let whole = Sequence { name: &case.manifest.case, input: input(case), places: case.places().clone() };
    let fed = Criteria {
        fed: Some((case, Feed::Site)),
        judges: &|site, place| clean(case, site, place, &traits),
        noise: &|site, place| case.noise_on(traits.arithmetic, Feed::Site, site, place, traits.dtype),
        factor,
        context: Some(CaseContext { weights, case, traits: &traits }),
    };
    let prefill = record(port, &whole, &fed)?;
    let mut findings = same_in_pieces(port, &whole, &prefill, &fed)?;
    findings.extend(on_its_own(port, case, &whole, factor, shared)?);
    findings.push(a_b_a(port, &whole)?);
    Ok(findings)
}

/// The laws on the port's own values.
///
/// A wrong port may be much more sensitive to rounding than the correct model whose noise was measured. So if
/// something differs, it is judged again with the port's own sensitivity included: a mistake elsewhere must
/// not look like a mistake of the cache.
///
/// If activations are rounded to 8 bits, a value on the other side of a rounding boundary moves by a whole
/// step; in half precision every sum is rounded just as coarsely. Over many layers this grows to the size of
/// the values, so even correct whole forward passes cannot be compared. In that case each block starts from
/// the reference.
fn on_its_own(
    port: &mut dyn Port,
    case: &Reference,
    whole: &Sequence<'_>,
    factor: f64,
    shared: bool,
) -> Result<Vec<Finding>> {
    let Traits { dtype, arithmetic, .. } = port.traits();
    let is_fine = arithmetic == Arithmetic::Dense && dtype == DType::F32;
    let feed = if is_fine { Feed::Own } else { Feed::Block };
    // Noise was measured where references are stored, so only those rows can be judged.
    let has = |site, place| case.rows(site).map(|reference| reference.places.binary_search(&place).is_ok());
    let begins = |site: Site, place| site.block_input().is_none_or(|input| has(input, place) == Some(true));
    let stored = |site, place| has(site, place) != Some(false) && (feed == Feed::Own || begins(site, place));
    let measured = |site, place| case.noise_on(arithmetic, feed, site, place, dtype);
    let run = |noise: &dyn Fn(Site, Place) -> Option<Noise>, port: &mut dyn Port| -> Result<Vec<Finding>> {
        let fed = (feed == Feed::Block).then_some((case, feed));
        let criteria = Criteria { fed, judges: &stored, noise, factor, context: None };
        let prefill = record(port, whole, &criteria)?;
        let mut findings = same_in_pieces(port, whole, &prefill, &criteria)?;
        if shared {
            findings.extend(sharing::same_in_company(port, whole, &prefill, &criteria)?);
        }
        // A row alone has other positions than in its batch, so it cannot get reference inputs: use the noise
        // of the port's own values.
        let own = |site, place| {
            if fed.is_none() {
                noise(site, place)
            } else {
                case.noise_on(arithmetic, Feed::Own, site, place, dtype)
            }
        };
        if whole.input.batch() > 1 {
            let criteria = Criteria { fed: None, noise: &own, ..criteria };
            let in_batch = if fed.is_none() { prefill } else { record(port, whole, &criteria)? };
            findings.extend(rows_alone(port, whole, &in_batch, &criteria)?);
        }
        Ok(findings)
    };
    let findings = run(&measured, port)?;
    if findings.iter().all(|f| f.verdict.status() != Status::Failed) {
        return Ok(findings);
    }
    match noise::shaken(port, &whole.input) {
        Ok(shaken) => run(&|site, place| Some(measured(site, place)?.or_larger(*shaken.get(&site)?)), port),
        Err(_) => Ok(findings), // the port returned an error, which is among the findings
    }
}

/// `prefill`, which was recorded in one pass = its chunks = token by token.
pub(super) fn same_in_pieces(
    port: &mut dyn Port,
    whole: &Sequence<'_>,
    prefill: &BTreeMap<Site, ReferenceRows>,
    criteria: &Criteria<'_>,
) -> Result<Vec<Finding>> {
    let length = whole.input.len();
    if prefill.is_empty() {
        let verdict = Verdict::Broken("the port hands over no site, so nothing can be compared".into());
        return Ok(vec![law("sites", whole.name, &port.traits(), verdict)]);
    }
    let judged =
        prefill.values().flat_map(|reference| reference.places.iter()).map(|&(_, position)| position);
    let windows =
        [(Pieces::Chunks, chunks(length)), (Pieces::Tokens, tokens(length, judged.min().unwrap_or(0)))];
    let mut findings = Vec::new();
    for (pieces, windows) in windows {
        if windows.len() < 2 {
            continue; // a single token is already the whole
        }
        let feed = criteria.fed.map_or(Feed::Own, |(_, feed)| feed);
        let drive = Drive::InPieces(pieces, port.traits().path, feed);
        findings.extend(replay(port, whole, &windows, prefill, criteria, drive)?);
    }
    Ok(findings)
}

/// Three uneven pieces: the second one runs on a cache that is not empty and has at least two tokens if
/// possible.
pub(super) fn chunks(length: usize) -> Vec<Window> {
    let (first, second) = (length.div_ceil(3), (2 * length).div_ceil(3));
    [0..first, first..second, second..length].into_iter().filter(|window| !window.is_empty()).collect()
}

/// Windows of one token each. If a long case is judged only near its end, most of the tokens before that form
/// one window.
pub(super) fn tokens(length: usize, first_judged: usize) -> Vec<Window> {
    let warm = first_judged.saturating_sub(8);
    let before = std::iter::once(0..warm).filter(|window| !window.is_empty());
    before.chain((warm..length).map(|position| position..position + 1)).collect()
}

/// Each row of a batch, run alone and without its padding, must give the same values as `in_batch`, which was
/// recorded in one pass.
pub(super) fn rows_alone(
    port: &mut dyn Port,
    whole: &Sequence<'_>,
    in_batch: &BTreeMap<Site, ReferenceRows>,
    criteria: &Criteria<'_>,
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for b in 0..whole.input.batch() {
        let first = whole.input.real[b].iter().position(|&real| real).unwrap_or(0);
        let length = whole.places.iter().filter(|(batch, _)| *batch == b).count();
        let alone = Sequence {
            name: whole.name,
            input: whole.input.row(b).slice(first..first + length),
            places: (0..length).map(|position| (0, position)).collect(),
        };
        // Over keys, the columns of the batch include its padding. These sites are covered by `context`.
        let expected = in_batch.iter().filter(|(site, _)| !site.kind.over_keys());
        let expected = expected.map(|(&site, reference)| (site, cut_row(reference, b, first))).collect();
        let noise = |site, (_, position): Place| (criteria.noise)(site, (b, position + first));
        let shifted = Criteria { noise: &noise, ..*criteria };
        let drive = Drive::RowAlone(b, port.traits().path);
        findings.extend(replay(
            port,
            &alone,
            std::slice::from_ref(&(0..length)),
            &expected,
            &shifted,
            drive,
        )?);
    }
    Ok(findings)
}

/// Row `b` of the batch in `reference`, with its first token moved from index `first` to 0.
pub(super) fn cut_row(reference: &ReferenceRows, b: usize, first: usize) -> ReferenceRows {
    let own = || reference.places.iter().enumerate().filter(|(_, (batch, _))| *batch == b);
    ReferenceRows {
        places: own().map(|(_, &(_, position))| (0, position - first)).collect(),
        row_shape: reference.row_shape.clone(),
        values: own().flat_map(|(r, _)| reference.row(r).iter().copied()).collect(),
    }
}

/// The largest number of tokens that run between two passes that a cache must not connect. What they leave in the
/// cache shows, however few they are.
pub(super) const BETWEEN: usize = 16;

/// A, then something else, then A again must be bit-for-bit the same: nothing may stay in the cache.
pub(super) fn a_b_a(port: &mut dyn Port, whole: &Sequence<'_>) -> Result<Finding> {
    let vocab = port.traits().vocab as u32;
    let mut other = whole.input.slice(0..whole.input.len().min(BETWEEN));
    other.ids.iter_mut().flatten().for_each(|id| *id = (*id * 7 + 1) % vocab);
    let mut run = |input: &Input| unrepeatable::logits(port, input);
    let runs = run(&whole.input).and_then(|a| Ok((a, run(&other)?, run(&whole.input)?)));
    let verdict = match runs {
        Err(error) => Verdict::Broken(format!("the port returned an error: {error}")),
        Ok((first, _, again)) if first.len() != again.len() || first.is_empty() => {
            Verdict::Broken("the second run of the same text gives logits of another shape".into())
        }
        Ok((first, _, again)) => match (0..first.len()).find(|&i| first[i].to_bits() != again[i].to_bits()) {
            Some(at) => Verdict::Broken(format!(
                "logit {at} is {} in the first run and {} in the second",
                first[at], again[at]
            )),
            None => Verdict::Pass(0.0),
        },
    };
    let mut finding = law("A, B, A", whole.name, &port.traits(), verdict);
    if matches!(finding.verdict, Verdict::Broken(_)) {
        finding.explained = Some(if left_over::seen(port, &whole.input, &other) {
            diagnose::decoding::sees_the_past()
        } else {
            unrepeatable::diagnose(port, &whole.input)
        });
    }
    Ok(finding)
}

/// A context up to this length is filled to the last position; for a longer one only the refusal is checked,
/// which costs nothing.
const FILL: usize = 2048;

/// The context can be filled, and one more token is refused.
pub(super) fn context_ends(port: &mut dyn Port) -> Finding {
    let traits = port.traits();
    let ids: Vec<u32> = (0..=traits.context).map(|i| (i % traits.vocab) as u32).collect();
    port.begin();
    let verdict = if traits.context <= FILL {
        let (full, more) = ids.split_at(traits.context);
        match port.forward(&Input::single(full, 0), &mut ()).and_then(|logits| all_finite(&logits)) {
            Err(error) => Verdict::Broken(format!(
                "{} tokens should fit into the context, but the port returned an error: {error}",
                traits.context
            )),
            Ok(false) => {
                Verdict::Broken(format!("with {} tokens, some logits are NaN or infinite", traits.context))
            }
            Ok(true) => refused(port, &Input::single(more, traits.context)),
        }
    } else {
        refused(port, &Input::single(&ids, 0))
    };
    port.begin();
    law("context length", "", &traits, verdict)
}

/// Running past the context must be an error: otherwise the port silently computes nonsense.
fn refused(port: &mut dyn Port, input: &Input) -> Verdict {
    match port.forward(input, &mut ()) {
        Err(_) => Verdict::Pass(0.0),
        Ok(_) => Verdict::Broken(format!(
            "the port accepts a token beyond its context of {}",
            port.traits().context
        )),
    }
}

fn all_finite(logits: &Tensor) -> Result<bool> {
    Ok(logits.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?.iter().all(|v| v.is_finite()))
}

fn law(name: &str, case: &str, traits: &Traits, verdict: Verdict) -> Finding {
    let (case, drive) = (case.to_owned(), Drive::Path(traits.path));
    Finding { case, drive, ..Finding::new(name, verdict) }
}
