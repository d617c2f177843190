//! Reads the rotation from `config.json`: its base θ, and how its wavelengths are scaled.
//!
//! transformers 4 writes `rope_theta`, and `rope_scaling` with a `type` or a `rope_type`. transformers 5 writes
//! both into `rope_parameters`, for some models once per type of layer. Files in the wild mix these forms, so
//! all of them are read, and two that disagree are refused.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::super::rope::{RopeScaling, means_theta};
use super::super::value::{finite, shown};
use super::keys::Object;
use crate::Result;
use crate::weights::PER_PAIR;

/// θ if the file does not mention it, from transformers' `RotaryEmbeddingConfigMixin`.
const DEFAULT_THETA: f64 = 1e4;

/// The keys whose value is an object with the parameters of the rotation.
const PARAMETERS: [&str; 2] = ["rope_parameters", "rope_scaling"];

/// The keys in these objects that are read. Unsupported types of scaling have more, and are refused as a whole.
const READ: [&str; 9] = [
    "rope_theta",
    "rope_type",
    "type",
    "factor",
    "low_freq_factor",
    "high_freq_factor",
    "original_max_position_embeddings",
    "partial_rotary_factor",
    "factors",
];

/// The rotation of every layer.
pub(super) struct Rotation {
    pub(super) theta: f64,
    pub(super) scaling: RopeScaling,
}

/// Something that the file says, and the keys that lead to it.
struct Stated<T> {
    place: String,
    value: T,
}

/// Reads the rotation. `context` is the context length in tokens.
///
/// # Errors
/// A value has the wrong type, two values disagree, layers differ, the scaling is not supported, or θ is
/// stated under an unknown key: θ has its default only if no key mentions it.
pub(super) fn read(config: &Object<'_>, context: usize) -> Result<Rotation> {
    let mut leaves = Vec::new();
    for key in PARAMETERS {
        match config.entries.get(key) {
            None | Some(Value::Null | Value::Bool(false)) => {}
            Some(Value::Object(entries)) => {
                collect_leaves(config.inner(key, entries), &layer_types(config), &mut leaves)?;
            }
            Some(_) => return Err(config.wrong(key, "an object is needed")),
        }
    }
    let (mut thetas, mut scalings) = (Vec::new(), Vec::new());
    thetas.extend(theta(config)?);
    for leaf in &leaves {
        thetas.extend(theta(leaf)?);
        scalings.extend(scaling(leaf, config, context)?);
    }
    if let Some((a, b)) = first_pair(&thetas, |a, b| a == b) {
        let what = format!("{} is {:?}, but {} is {:?}", a.place, a.value, b.place, b.value);
        return Err(config.refuse(what, "all layers of a Llama share one θ: keep the right value"));
    }
    if let Some((a, b)) = first_pair(&scalings, |a, b| a == b) {
        let value = |place: &str| parameters(&leaves, place);
        let what = format!("{} is {}, but {} is {}", a.place, value(&a.place), b.place, value(&b.place));
        return Err(config.refuse(what, "all layers of a Llama share one rotation: keep the right one"));
    }
    let stated = thetas.first();
    refuse_other_thetas(config, &leaves, stated)?;
    Ok(Rotation {
        theta: stated.map_or(DEFAULT_THETA, |theta| theta.value),
        scaling: scalings.into_iter().next().map(|scaling| scaling.value).unwrap_or_default(),
    })
}

/// The unknown keys in the objects with the parameters of the rotation, at any depth, with their values.
pub(super) fn unknown_keys(config: &Object<'_>) -> Vec<String> {
    let mut unknown = Vec::new();
    for key in PARAMETERS {
        if let Some(Value::Object(entries)) = config.entries.get(key) {
            collect_unknown(&config.inner(key, entries), &mut unknown);
        }
    }
    unknown
}

fn collect_unknown(object: &Object<'_>, unknown: &mut Vec<String>) {
    for (key, value) in object.entries {
        match value {
            Value::Object(entries) => collect_unknown(&object.inner(key, entries), unknown),
            _ if READ.contains(&key.as_str()) => {}
            value => unknown.push(format!("{:?} {}", object.full(key), shown(value))),
        }
    }
}

/// The types of layer that the model has, if the file lists them.
fn layer_types<'a>(config: &Object<'a>) -> BTreeSet<&'a str> {
    let listed = config.entries.get("layer_types").and_then(Value::as_array);
    listed.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Adds the objects in `object`, at any depth, that contain no objects themselves. Parameters of types of
/// layer that the model does not have are left out.
///
/// # Errors
/// The parameters of a type of layer that the model has are null.
fn collect_leaves<'a>(
    object: Object<'a>,
    types: &BTreeSet<&str>,
    leaves: &mut Vec<Object<'a>>,
) -> Result<()> {
    let by_type = object.entries.keys().any(|key| types.contains(key.as_str()));
    let used = |key: &str| !by_type || types.contains(key);
    let inner: Vec<(&str, &Map<String, Value>)> =
        object.entries.iter().filter_map(|(key, value)| Some((key.as_str(), value.as_object()?))).collect();
    if let Some(key) = types.iter().find(|key| object.entries.get(**key).is_some_and(Value::is_null)) {
        return Err(object.wrong(key, "layers without rotation are not supported"));
    }
    if inner.is_empty() || object.entries.values().any(|value| value.is_number() || value.is_string()) {
        leaves.push(object.clone());
    }
    for (key, entries) in inner.into_iter().filter(|(key, _)| used(key)) {
        collect_leaves(object.inner(key, entries), types, leaves)?;
    }
    Ok(())
}

/// θ, if this object states it.
fn theta(object: &Object<'_>) -> Result<Option<Stated<f64>>> {
    if !object.entries.contains_key("rope_theta") {
        return Ok(None);
    }
    Ok(Some(Stated { place: object.full("rope_theta"), value: object.needed_number("rope_theta")? }))
}

/// The scaling, if this object states it.
fn scaling(leaf: &Object<'_>, config: &Object<'_>, context: usize) -> Result<Option<Stated<RopeScaling>>> {
    if leaf.number("partial_rotary_factor")?.is_some_and(|part| part != 1.0) {
        return Err(leaf.unsupported("partial_rotary_factor"));
    }
    let unsupported = || {
        let value = shown(&Value::Object(leaf.entries.clone()));
        let hint =
            "ignoring it would give wrong angles; use a model without scaling, with rope_type \"default\"";
        config.refuse(format!("{} {value} is not supported yet", leaf.name()), hint)
    };
    let stated = |key: &str| leaf.entries.get(key).filter(|kind| !kind.is_null());
    let kind = match (stated("rope_type"), stated("type")) {
        (Some(new), Some(old)) if new != old => {
            let (new, old) = (shown(new), shown(old));
            let what = format!("{} is {new}, but {} is {old}", leaf.full("rope_type"), leaf.full("type"));
            return Err(config.refuse(what, "keep the right one"));
        }
        (new, old) => new.or(old),
    };
    let Some(kind) = kind else {
        // A factor without a type shows that scaling was intended.
        let scaled = leaf.number("factor")?.is_some_and(|factor| factor != 1.0);
        return if scaled { Err(unsupported()) } else { Ok(None) };
    };
    let scaling = match kind.as_str() {
        Some("default") => RopeScaling::None,
        Some("linear") => RopeScaling::linear(leaf.needed_number("factor")?),
        Some("llama3") => llama3(leaf, config, context)?,
        Some(PER_PAIR) => {
            let listed = leaf.entries.get("factors").and_then(Value::as_array);
            let factors = listed.into_iter().flatten().filter_map(finite).map(|factor| factor as f32);
            RopeScaling::PerPair { factors: factors.collect() }
        }
        _ => return Err(unsupported()),
    };
    if let Some(fault) = scaling.fault() {
        return Err(config.refuse(format!("{}: {fault}", leaf.name()), "correct the value of this key"));
    }
    Ok(Some(Stated { place: leaf.name().to_owned(), value: scaling }))
}

fn llama3(leaf: &Object<'_>, config: &Object<'_>, context: usize) -> Result<RopeScaling> {
    let key = "original_max_position_embeddings";
    let original = match (leaf.size(key)?, config.size(key)?) {
        (Some(inner), Some(outer)) if inner != outer => {
            let what = format!("{} is {inner}, but {key} is {outer}", leaf.full(key));
            return Err(config.refuse(what, "keep the right one"));
        }
        (inner, outer) => inner.or(outer).unwrap_or(context),
    };
    let scaling = RopeScaling::Llama3 {
        factor: leaf.needed_number("factor")?,
        low_freq_factor: leaf.needed_number("low_freq_factor")?,
        high_freq_factor: leaf.needed_number("high_freq_factor")?,
        original_max_position_embeddings: original,
    };
    // With a factor of 1, all three ranges of wavelengths stay what they are.
    let kept = matches!(scaling, RopeScaling::Llama3 { factor, .. } if factor == 1.0);
    Ok(if kept && scaling.fault().is_none() { RopeScaling::None } else { scaling })
}

/// The first value, and the first one that differs from it.
fn first_pair<T>(all: &[Stated<T>], same: impl Fn(&T, &T) -> bool) -> Option<(&Stated<T>, &Stated<T>)> {
    let first = all.first()?;
    Some((first, all.iter().find(|other| !same(&first.value, &other.value))?))
}

/// The object at `place`, for a message.
fn parameters(leaves: &[Object<'_>], place: &str) -> String {
    let leaf = leaves.iter().find(|leaf| leaf.name() == place);
    leaf.map_or_else(String::new, |leaf| shown(&Value::Object(leaf.entries.clone())))
}

/// Refuses a θ under another key or in another object, unless it is equal to the one that was read.
fn refuse_other_thetas(config: &Object<'_>, leaves: &[Object<'_>], read: Option<&Stated<f64>>) -> Result<()> {
    let mut others = Vec::new();
    for (key, value) in config.entries.iter().filter(|(key, _)| !PARAMETERS.contains(&key.as_str())) {
        collect_thetas(config, key, value, &mut others);
    }
    for leaf in leaves {
        let own = leaf.entries.iter().filter(|(_, value)| !value.is_object());
        own.for_each(|(key, value)| collect_thetas(leaf, key, value, &mut others));
    }
    for (place, value) in others {
        let what = match read {
            Some(read) if finite(value) == Some(read.value) => continue,
            Some(read) => format!("{place} is {}, but {} is {:?}", shown(value), read.place, read.value),
            None => format!("{place} is {}: θ, the base of the rotation, has an unknown key", shown(value)),
        };
        return Err(config.refuse(what, "state θ once, as rope_theta at the top of the file"));
    }
    Ok(())
}

/// Adds `value` if `key` means θ, and every such value inside it.
fn collect_thetas<'a>(
    object: &Object<'a>,
    key: &str,
    value: &'a Value,
    found: &mut Vec<(String, &'a Value)>,
) {
    match value {
        Value::Null => {}
        Value::Object(entries) => {
            let object = object.inner(key, entries);
            entries.iter().for_each(|(key, value)| collect_thetas(&object, key, value, found));
        }
        Value::Array(values) => {
            values.iter().for_each(|value| collect_thetas(object, key, value, found));
        }
        _ if means_theta(key) => found.push((object.full(key), value)),
        _ => {}
    }
}
