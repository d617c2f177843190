//! Which mistake of a scheduler gives a text these logits? Each is made on purpose, in passes of the port without its
//! scheduler, and named if it gives them.

use candle_core::{DType, Tensor};

use super::drive::Company;
use super::served::{Step, Text};
use crate::Result;
use crate::compare::ulp;
use crate::diagnose::{Diagnosis, decoding};
use crate::model::Input;
use crate::port::Port;

/// A mistake gives the logits if it is this many times closer to them than the right pass.
const CLOSER: f32 = 10.0;

/// It must also be within this share of the largest logit.
const CLOSE: f32 = 0.02;

/// The mistake that explains the first wrong logits in `steps`; `None` if there is none, or more than one.
///
/// # Errors
/// Tensors cannot be read. A pass that the port refuses explains nothing.
pub(super) fn diagnose(
    port: &mut dyn Port,
    text: &Text,
    company: Company,
    steps: &[Step],
) -> Result<Option<Diagnosis>> {
    let Ok(right) = run(port, &[(&text.ids, 0)]) else { return Ok(None) };
    let right = rows(&right)?;
    let rounding = (CLOSE / CLOSER).max(4.0 * ulp(port.traits().dtype) as f32);
    let wrong = |step: &&Step| distance(&step.logits, &right[step.window.end - 1]) > rounding;
    let Some(step) = steps.iter().find(wrong) else { return Ok(None) };
    let last = step.window.end - 1;
    let error = distance(&step.logits, &right[last]);
    let explains = |logits: &[f32]| {
        let left = distance(&step.logits, logits);
        left < CLOSE && left * CLOSER < error
    };
    let explained = |pass: Result<Tensor>| -> Result<bool> {
        let Ok(logits) = pass else { return Ok(false) };
        Ok(rows(&logits)?.last().is_some_and(|logits| explains(logits)))
    };
    let mut found = Vec::new();

    if let Some(own) = (0..right.len()).find(|&row| row != last && explains(&right[row])) {
        found.push(decoding::step_row(true, own, last));
    }
    let vocab = port.traits().vocab;
    for number in 0..2 {
        let Ok(logits) = run(port, &[(&text.other(company, number, vocab), 0)]) else { continue };
        if let Some(row) = rows(&logits)?.iter().position(|logits| explains(logits)) {
            found.push(decoding::step_row(false, row, last));
        }
    }

    let windows = text.windows(0);
    let restarted: Vec<(&[u32], usize)> = windows
        .iter()
        .take_while(|window| window.start < step.window.end)
        .map(|window| {
            let piece = &text.ids[window.clone()];
            (piece, if window.start < text.prompt { 0 } else { window.start })
        })
        .collect();
    if company != Company::Prefix && restarted.len() > 1 && explained(run(port, &restarted))? {
        found.push(decoding::chunk_position(windows[1].start));
    }

    for other in step.others.iter().filter(|other| !other.is_empty()) {
        let pass = [(&other[..], 0), (&text.ids[step.window.clone()], step.window.start)];
        if explained(run(port, &pass))? {
            found.push(decoding::other_cache());
            break;
        }
    }

    if company == Company::Prefix {
        let other = text.other(company, 0, vocab);
        for reused in text.common + 1..text.prompt {
            let pass = [(&other[..reused], 0), (&text.ids[reused..=last], reused)];
            if explained(run(port, &pass))? {
                found.push(decoding::stale_prefix(reused, text.common));
                break;
            }
        }
    }
    Ok(if found.len() == 1 { found.pop() } else { None })
}

/// The logits of the last of these pieces, `[1, s, vocab]`, each with the position of its first token, on one cache.
fn run(port: &mut dyn Port, pieces: &[(&[u32], usize)]) -> Result<Tensor> {
    port.begin();
    let mut logits = Err(crate::Error::internal("no pieces"));
    for (ids, start) in pieces {
        logits = Ok(port.forward(&Input::single(ids, *start), &mut ())?);
    }
    logits
}

fn rows(logits: &Tensor) -> Result<Vec<Vec<f32>>> {
    Ok(logits.to_dtype(DType::F32)?.flatten(0, 1)?.to_vec2()?)
}

/// The largest difference, as a share of the largest of the logits `b`; infinite if they cannot be compared.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    let largest = b.iter().fold(0f32, |largest, v| largest.max(v.abs()));
    let difference = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    let difference = difference.fold(0f32, |most, d| if d.is_nan() { f32::INFINITY } else { most.max(d) });
    if a.len() == b.len() && largest > 0.0 { difference / largest } else { f32::INFINITY }
}
