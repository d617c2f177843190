//! Reads what differs between the layers of a Gemma, and its scale and softcaps, from GGUF metadata. What a file
//! does not state is as in llama.cpp (`src/models/gemma2.cpp`, `src/models/gemma3.cpp`).

use serde_json::Value;

use super::super::LayerType;
use super::super::family::Family;
use super::keys::Keys;
use crate::Result;

const WINDOW: &str = "attention.sliding_window";
const PATTERN: &str = "attention.sliding_window_pattern";
const LOCAL_THETA: &str = "rope.freq_base_swa";

/// Windows, and the rotation of the layers that have one.
pub(super) struct Layers {
    pub(super) window: Option<usize>,
    pub(super) types: Vec<LayerType>,
    pub(super) local_theta: Option<f64>,
}

/// Reads the windows of a model of `layers` layers. Other families than Gemma have none: keys that state one are
/// refused.
///
/// # Errors
/// A value has the wrong type.
pub(super) fn read(keys: Keys<'_>, layers: usize) -> Result<Layers> {
    // llama.cpp's window and pattern, if a file does not state them.
    let (window, pattern) = match keys.family {
        Family::Gemma2 => (keys.size(&keys.own(WINDOW))?.or(Some(4096)), 2),
        Family::Gemma3 => (keys.size(&keys.own(WINDOW))?, 6),
        _ => (None, 1),
    };
    let types = match window {
        None => vec![LayerType::Full; layers],
        Some(_) => types(keys, layers, pattern)?,
    };
    let local_theta = match keys.family {
        Family::Gemma3 => Some(keys.number(&keys.own(LOCAL_THETA))?.unwrap_or(1e4)),
        _ => None,
    };
    Ok(Layers { window: window.filter(|_| types.contains(&LayerType::Sliding)), types, local_theta })
}

/// The types of the layers: `attention.sliding_window_pattern` is the distance of full layers, or says for each
/// layer whether it has a window.
fn types(keys: Keys<'_>, layers: usize, pattern: usize) -> Result<Vec<LayerType>> {
    let key = &keys.own(PATTERN);
    if let Some(Value::Array(listed)) = keys.file.metadata(key) {
        let of = |one: &Value| match one.as_bool().or_else(|| one.as_u64().map(|n| n != 0)) {
            Some(true) => Some(LayerType::Sliding),
            Some(false) => Some(LayerType::Full),
            None => None,
        };
        let types: Option<Vec<LayerType>> = listed.iter().map(of).collect();
        return types
            .filter(|types| types.len() == layers)
            .ok_or_else(|| keys.wrong(key, "one truth value for each layer is needed"));
    }
    Ok(LayerType::every(keys.size(key)?.unwrap_or(pattern), layers))
}

/// The number by whose root scores are divided, for a Gemma; `None` means the width of a head. Files state it as
/// `attention.scale`, or not at all: then the model of 27 billion parameters, which llama.cpp recognises by its
/// number of layers, has another one than the others.
///
/// # Errors
/// A value has the wrong type.
pub(super) fn query_scalar(
    keys: Keys<'_>,
    (hidden, heads, layers): (usize, usize, usize),
) -> Result<Option<f64>> {
    let largest = match keys.family {
        Family::Gemma2 => layers == 46,
        Family::Gemma3 => layers == 62,
        _ => return Ok(None),
    };
    let stated = keys.number(&keys.own("attention.scale"))?.filter(|scale| *scale != 0.0);
    let of_largest = || largest.then(|| hidden.checked_div(heads)).flatten().map(|scalar| scalar as f64);
    // The file has the inverse root in float32: the nearest whole number is what it was computed from.
    let scalar = |scale: f64| {
        let scalar = scale.powi(-2);
        if (scalar.round() / scalar - 1.0).abs() < 1e-6 { scalar.round() } else { scalar }
    };
    Ok(stated.map(scalar).or_else(of_largest))
}

/// A softcap of a Gemma 2, or `default`; 0 and other families have none. Gemma 3 caps logits only if a file says so.
///
/// # Errors
/// The value has the wrong type.
pub(super) fn softcap(keys: Keys<'_>, key: &str, default: f64) -> Result<Option<f64>> {
    let stated = || keys.number(&keys.own(key));
    Ok(match keys.family {
        Family::Gemma2 => stated()?.or(Some(default)),
        Family::Gemma3 if key == "final_logit_softcapping" => stated()?,
        _ => None,
    }
    .filter(|cap| *cap != 0.0))
}
