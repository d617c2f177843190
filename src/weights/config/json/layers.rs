//! Reads what may differ between the layers of a model from `config.json`: windows and rotations.

use serde_json::{Map, Value};

use super::super::LayerType;
use super::super::family::Family;
use super::super::rope::RopeScaling;
use super::keys::Object;
use super::rope::{self, Rotation};
use crate::Result;

/// transformers' default of `sliding_window`, in Mistral and Gemma.
const DEFAULT_WINDOW: usize = 4096;

/// transformers' default of `sliding_window_pattern` in Gemma 3.
const DEFAULT_PATTERN: usize = 6;

/// transformers' defaults of θ in Gemma 3: for layers without a window, and for layers with one.
const GEMMA3_THETAS: [f64; 2] = [1e6, 1e4];

/// What the layers share, and what differs between them.
pub(super) struct Layers {
    /// The rotation of all layers, or of those without a window if `local_theta` is given.
    pub(super) rotation: Rotation,
    /// θ of the layers with a window, whose rotation is not scaled.
    pub(super) local_theta: Option<f64>,
    /// The window, if layers have one.
    pub(super) window: Option<usize>,
    /// The type of each layer.
    pub(super) types: Vec<LayerType>,
}

/// Reads the rotations and windows of a model of `layers` layers. `context` is the context length in tokens.
///
/// # Errors
/// A value has the wrong type, values contradict each other, or the rotation is not supported.
pub(super) fn read(config: &Object<'_>, family: Family, layers: usize, context: usize) -> Result<Layers> {
    let (rotation, local_theta) = match family {
        Family::Gemma3 => gemma3_rotations(config, context)?,
        _ => (rope::read(config, context)?, None),
    };
    let window = if family.has_a_window() { window(config)? } else { None };
    let types = match window {
        None => vec![LayerType::Full; layers],
        Some(_) => types(config, family, layers)?,
    };
    // Without such a layer, the window has no effect.
    let window = window.filter(|_| types.contains(&LayerType::Sliding));
    Ok(Layers { rotation, local_theta, window, types })
}

/// The window of a family that has one; null means that there is none.
fn window(config: &Object<'_>) -> Result<Option<usize>> {
    let absent = (!config.entries.contains_key("sliding_window")).then_some(DEFAULT_WINDOW);
    Ok(config.size("sliding_window")?.or(absent))
}

/// The type of each layer of a model with a window: as listed, or by transformers' rule for the family.
fn types(config: &Object<'_>, family: Family, layers: usize) -> Result<Vec<LayerType>> {
    let listed = config.entries.get("layer_types").filter(|listed| !listed.is_null());
    if let Some(listed) = listed.filter(|_| family != Family::Mistral) {
        let named = |one: &Value| LayerType::named(one.as_str()?);
        let types: Option<Vec<LayerType>> =
            listed.as_array().and_then(|list| list.iter().map(named).collect());
        let why = "a list of \"full_attention\" and \"sliding_attention\" is needed, one for each layer";
        return types.filter(|types| types.len() == layers).ok_or_else(|| config.wrong("layer_types", why));
    }
    Ok(match family {
        Family::Gemma2 => LayerType::every(2, layers),
        Family::Gemma3 => {
            // transformers 5 writes the key with an underscore.
            let keys = ["sliding_window_pattern", "_sliding_window_pattern"];
            let stated = keys.iter().find_map(|key| config.size(key).transpose()).transpose()?;
            LayerType::every(stated.unwrap_or(DEFAULT_PATTERN), layers)
        }
        _ => vec![LayerType::Sliding; layers],
    })
}

/// The rotation of the layers without a window, and θ of those with one.
///
/// transformers 5 writes both into `rope_parameters`, by type of layer. Before, `rope_theta` and `rope_scaling`
/// were those of the layers without a window, and `rope_local_base_freq` was θ of the others.
fn gemma3_rotations(config: &Object<'_>, context: usize) -> Result<(Rotation, Option<f64>)> {
    const LOCAL_THETA: &str = "rope_local_base_freq";
    let by_type = config.entries.get("rope_parameters").and_then(Value::as_object);
    let of = |of: LayerType| by_type.and_then(|all| all.get(of.name())).and_then(Value::as_object);
    let split = of(LayerType::Full).is_some() || of(LayerType::Sliding).is_some();
    let rest = |dropped: &[&str]| -> Map<String, Value> {
        let kept = config.entries.iter().filter(|(key, _)| !dropped.contains(&key.as_str()));
        kept.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let alone = |of_type: LayerType, theta: f64| {
        let mut parameters = of(of_type).cloned().unwrap_or_default();
        parameters.entry("rope_theta").or_insert_with(|| theta.into());
        let mut entries = rest(&["rope_theta", "rope_scaling", LOCAL_THETA, "layer_types"]);
        entries.insert("rope_parameters".into(), Value::Object(parameters));
        entries
    };
    let old_theta = |key: &str, default: f64| Ok::<_, crate::Error>(config.number(key)?.unwrap_or(default));
    let [global_theta, local_theta] = GEMMA3_THETAS;
    let (global, local) = if split {
        (alone(LayerType::Full, global_theta), alone(LayerType::Sliding, local_theta))
    } else {
        let mut global = rest(&[LOCAL_THETA, "layer_types"]);
        let stated = config.entries.contains_key("rope_theta")
            || by_type.is_some_and(|all| all.contains_key("rope_theta"));
        if !stated {
            global.insert("rope_theta".into(), global_theta.into());
        }
        let mut local = rest(&["rope_scaling", "rope_parameters", LOCAL_THETA, "layer_types"]);
        local.insert("rope_theta".into(), old_theta(LOCAL_THETA, local_theta)?.into());
        (global, local)
    };
    let global = rope::read(&config.with(&global), context)?;
    let local = rope::read(&config.with(&local), context)?;
    match local.scaling {
        RopeScaling::None => Ok((global, Some(local.theta))),
        _ => Err(config.unsupported("rope_parameters")),
    }
}
