//! Do two runs of one text differ, although short texts repeat in every bit?

use candle_core::DType;

use crate::Result;
use crate::diagnose::{Diagnosis, decoding};
use crate::model::Input;
use crate::port::Port;

/// A difference of more than this share of the largest logit cannot be rounding.
const MORE_THAN_ROUNDING: f32 = 0.02;

/// The diagnosis of a port whose runs of `input` differ. It halves the text until two runs agree. A port that cannot
/// run the text again shows nothing.
pub(super) fn diagnose(port: &mut dyn Port, input: &Input) -> Diagnosis {
    let mut wrong = input.len();
    if !differ(port, input).is_ok_and(|share| share.is_some_and(|share| share > MORE_THAN_ROUNDING)) {
        return Diagnosis::default();
    }
    while wrong > 1 {
        let half = wrong / 2;
        match differ(port, &input.slice(0..half)) {
            Ok(None) => return decoding::unrepeatable(half, wrong),
            Ok(Some(_)) => wrong = half,
            Err(_) => break,
        }
    }
    Diagnosis::default()
}

/// The logits of a run on an empty cache, flattened.
///
/// # Errors
/// The port cannot run the text.
pub(super) fn logits(port: &mut dyn Port, input: &Input) -> Result<Vec<f32>> {
    port.begin();
    Ok(port.forward(input, &mut ())?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

/// The largest difference between the logits of two runs on an empty cache, as a share of the largest logit;
/// `None` if they agree in every bit.
fn differ(port: &mut dyn Port, input: &Input) -> Result<Option<f32>> {
    let (first, again) = (logits(port, input)?, logits(port, input)?);
    let largest = first.iter().filter(|v| v.is_finite()).fold(0f32, |largest, v| largest.max(v.abs()));
    let same =
        first.len() == again.len() && first.iter().zip(&again).all(|(a, b)| a.to_bits() == b.to_bits());
    let apart = |(a, b): (&f32, &f32)| match a - b {
        _ if a.to_bits() == b.to_bits() => 0.0,
        difference if difference.is_nan() => f32::INFINITY,
        difference => difference.abs(),
    };
    let difference = first.iter().zip(&again).map(apart).fold(0f32, f32::max);
    Ok((!same).then_some(difference / largest))
}
