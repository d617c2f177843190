//! Reads what `config.json` says about quantisation, and refuses weights that cannot be read.

use safetensors::Dtype;
use serde_json::{Map, Value};

use super::value::shown;
use crate::{Error, Result, files};

/// The keys that say how the weights were quantised.
const KEYS: [&str; 2] = ["quantization_config", "quant_method"];

/// Refuses every quantisation method except GGUF. transformers writes `gguf` into the config of a model that
/// it loaded from a GGUF file, and saves the dequantised weights beside it, so the key only says where they
/// came from.
pub(super) fn refuse_other_methods(config: &Map<String, Value>, origin: &str) -> Result<()> {
    match stated(config).find(|(_, value)| !is_gguf(value)) {
        None => Ok(()),
        Some((key, value)) => {
            let hint = "this setting changes what the model computes, and is not supported yet";
            Err(Error::file(origin, format!("{key} {} is not supported", shown(value)), hint))
        }
    }
}

/// Refuses the tensor `name`, which is not stored as floats, if the config `text` names a quantisation
/// method.
///
/// # Errors
/// The config names one: the weights are still packed.
pub(in super::super) fn refuse_packed(text: &str, origin: &str, name: &str, dtype: Dtype) -> Result<()> {
    let config: Map<String, Value> =
        files::python_json(text).map_err(|error| Error::file(origin, error, "fetch it again"))?;
    match stated(&config).next() {
        None => Ok(()),
        Some((key, value)) => {
            let what =
                format!("{key} {} is not supported with packed weights: `{name}` is {dtype:?}", shown(value));
            let hint = "pass the .gguf file itself, or save the model with its weights dequantised to floats";
            Err(Error::file(origin, what, hint))
        }
    }
}

/// The quantisation keys that have a value. False, null and an empty object count as no value.
fn stated(config: &Map<String, Value>) -> impl Iterator<Item = (&'static str, &Value)> {
    let value = |key| Some((key, config.get(key)?));
    let empty = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Object(object) => object.is_empty(),
        _ => false,
    };
    KEYS.into_iter().filter_map(value).filter(move |(_, value)| !empty(value))
}

/// Whether it is `"gguf"`, or an object whose `quant_method` is `"gguf"`.
fn is_gguf(value: &Value) -> bool {
    value == "gguf" || value.get("quant_method").is_some_and(|method| method == "gguf")
}
