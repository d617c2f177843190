//! Reads the rotation from GGUF metadata and from the tensor `rope_freqs.weight`, as llama.cpp does.

use super::super::rope::{RopeScaling, means_theta};
use super::super::value::{finite, shown};
use super::keys::Keys;
use crate::{Error, Result};

const THETA: &str = "llama.rope.freq_base";
const TYPE: &str = "llama.rope.scaling.type";
const FACTOR: &str = "llama.rope.scaling.factor";
/// What old files have instead of [`FACTOR`].
const OLD_FACTOR: &str = "llama.rope.scale_linear";
/// A divisor of each pair's frequency, which the converter computes from Llama 3.1's parameters.
const PER_PAIR: &str = "rope_freqs.weight";

/// θ, the base of the rotation; 1e4 if no key mentions it, as in llama.cpp.
pub(super) fn theta(keys: Keys<'_>) -> Result<f64> {
    let theta = keys.number(THETA)?;
    for key in keys.file.metadata_keys().filter(|key| *key != THETA && means_theta(key)) {
        let Some(value) = keys.value(key)? else { continue };
        let what = match theta {
            Some(theta) if finite(&value) == Some(theta) => continue,
            Some(theta) => format!("metadata `{key}` is {}, but `{THETA}` is {theta:?}", shown(&value)),
            None => {
                format!(
                    "metadata `{key}` is {}: θ, the base of the rotation, has an unknown key",
                    shown(&value)
                )
            }
        };
        return Err(Error::file(keys.file.path(), what, format!("state θ once, as `{THETA}`")));
    }
    Ok(theta.unwrap_or(1e4))
}

/// The scaling of the rotation. Where a file states a factor for all pairs and one for each pair, both apply.
///
/// # Errors
/// It is not supported, or contradicts itself.
pub(super) fn scaling(keys: Keys<'_>, head_dim: usize) -> Result<RopeScaling> {
    Ok(match (linear(keys)?, per_pair(keys, head_dim)?) {
        (RopeScaling::Linear { factor }, RopeScaling::PerPair { factors }) => {
            RopeScaling::PerPair { factors: factors.iter().map(|one| one * factor as f32).collect() }
        }
        (RopeScaling::None, per_pair) => per_pair,
        (linear, _) => linear,
    })
}

/// What the metadata say. Without a type, a factor means linear scaling; with the type `none`, it means nothing.
fn linear(keys: Keys<'_>) -> Result<RopeScaling> {
    // To llama.cpp, 0 is an absent factor.
    let factor = |key| Ok::<_, Error>(keys.number(key)?.filter(|factor| *factor != 0.0));
    let (new, old) = (factor(FACTOR)?, factor(OLD_FACTOR)?);
    if let (Some(new), Some(old)) = (new, old)
        && new != old
    {
        let what = format!("metadata `{FACTOR}` is {new:?}, but `{OLD_FACTOR}` is {old:?}");
        return Err(Error::file(keys.file.path(), what, "convert the model again with llama.cpp"));
    }
    let factor = new.or(old).unwrap_or(1.0);
    match keys.text(TYPE)?.as_deref() {
        Some("none") => Ok(RopeScaling::None),
        None | Some("linear") => {
            let scaling = RopeScaling::linear(factor);
            let key = if new.is_some() { FACTOR } else { OLD_FACTOR };
            scaling.fault().map_or(Ok(scaling), |fault| Err(keys.wrong(key, &fault)))
        }
        Some(_) => Err(keys.wrong(TYPE, "only \"none\" and \"linear\" are supported")),
    }
}

/// The factor of each pair, if the file has them and one of them is not 1.
fn per_pair(keys: Keys<'_>, head_dim: usize) -> Result<RopeScaling> {
    let Some(shape) = keys.file.shape(PER_PAIR) else { return Ok(RopeScaling::None) };
    let refuse =
        |why: String| Error::file(keys.file.path(), format!("`{PER_PAIR}`: {why}"), "fetch the file again");
    if *shape != [head_dim / 2] {
        return Err(refuse(format!("it has shape {shape:?}, but a head has {} pairs", head_dim / 2)));
    }
    let factors = keys.file.tensor(PER_PAIR)?.to_dtype(candle_core::DType::F32)?.to_vec1::<f32>()?;
    if factors.iter().all(|factor| *factor == 1.0) {
        return Ok(RopeScaling::None);
    }
    let scaling = RopeScaling::PerPair { factors };
    scaling.fault().map_or(Ok(scaling), |fault| Err(refuse(fault)))
}
