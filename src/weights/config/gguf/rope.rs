//! Reads the rotation from GGUF metadata and from the tensor `rope_freqs.weight`, as llama.cpp does.

use super::super::family::Family;
use super::super::rope::{RopeScaling, means_theta};
use super::super::value::{finite, shown};
use super::keys::Keys;
use crate::{Error, Result};

// The keys of the architecture, without its name in front.
const THETA: &str = "rope.freq_base";
const TYPE: &str = "rope.scaling.type";
const FACTOR: &str = "rope.scaling.factor";
/// What old files have instead of [`FACTOR`].
const OLD_FACTOR: &str = "rope.scale_linear";
/// A divisor of each pair's frequency, which the converter computes from Llama 3.1's parameters.
const PER_PAIR: &str = "rope_freqs.weight";

/// θ, the base of the rotation; 1e4 if no key mentions it, as in llama.cpp.
pub(super) fn theta(keys: Keys<'_>) -> Result<f64> {
    let own = &keys.own(THETA);
    let theta = keys.number(own)?;
    // Only Gemma 3 rotates layers differently; `layers` reads its other θ.
    let local = keys.own("rope.freq_base_swa");
    let others = keys.file.metadata_keys().filter(|key| key != own && means_theta(key));
    for key in others.filter(|key| keys.family != Family::Gemma3 || *key != local) {
        let Some(value) = keys.value(key)? else { continue };
        let what = match theta {
            Some(theta) if finite(&value) == Some(theta) => continue,
            Some(theta) => format!("metadata `{key}` is {}, but `{own}` is {theta:?}", shown(&value)),
            None => {
                format!(
                    "metadata `{key}` is {}: θ, the base of the rotation, has an unknown key",
                    shown(&value)
                )
            }
        };
        return Err(Error::file(keys.file.path(), what, format!("state θ once, as `{own}`")));
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
    let [type_key, new_key, old_key] = [TYPE, FACTOR, OLD_FACTOR].map(|key| keys.own(key));
    let factor = |key: &str| Ok::<_, Error>(keys.number(key)?.filter(|factor| *factor != 0.0));
    let (new, old) = (factor(&new_key)?, factor(&old_key)?);
    if let (Some(new), Some(old)) = (new, old)
        && new != old
    {
        let what = format!("metadata `{new_key}` is {new:?}, but `{old_key}` is {old:?}");
        return Err(Error::file(keys.file.path(), what, "convert the model again with llama.cpp"));
    }
    let factor = new.or(old).unwrap_or(1.0);
    match keys.text(&type_key)?.as_deref() {
        Some("none") => Ok(RopeScaling::None),
        None | Some("linear") => {
            let scaling = RopeScaling::linear(factor);
            let key = if new.is_some() { &new_key } else { &old_key };
            scaling.fault().map_or(Ok(scaling), |fault| Err(keys.wrong(key, &fault)))
        }
        Some(_) => Err(keys.wrong(&type_key, "only \"none\" and \"linear\" are supported")),
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
