//! The header of a safetensors file, and a file of tensors.

use safetensors::Dtype;
use safetensors::tensor::{Metadata, SafeTensors, TensorView};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::files;

/// Reads the header at the beginning of `bytes`: the offset of the first value, and what it says of each tensor.
/// Every tensor lies inside `bytes`.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn header(bytes: &[u8]) -> Result<(usize, Metadata), String> {
    if !ends_are_inside(bytes) {
        return Err("a tensor ends past the end of the file: it is cut off, or damaged".into());
    }
    let (length, header) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
    // Of two tensors with one name the crate takes either.
    files::json::<IgnoredAny>(&bytes[8..8 + length]).map_err(|error| format!("header: {error}"))?;
    Ok((8 + length, header))
}

/// Safetensors adds header length and last offset without minding an overflow: an offset near 2⁶⁴
/// panics in debug builds and wraps in others. So look at the offsets first; whatever else is wrong
/// with the header is its own to say.
fn ends_are_inside(bytes: &[u8]) -> bool {
    let header = || {
        let length = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
        let text = bytes.get(8..)?.get(..usize::try_from(length).ok()?)?;
        serde_json::from_slice::<Map<String, Value>>(text).ok()
    };
    let inside = |info: &Value| match info.get("data_offsets").and_then(|ends| ends.get(1)) {
        Some(end) => end.as_u64().is_none_or(|end| end <= bytes.len() as u64),
        None => true,
    };
    header().is_none_or(|header| header.values().all(inside))
}

/// A file of float32 tensors: name, shape and values of each.
///
/// # Errors
/// Values that do not fill their shape.
pub(crate) fn write(
    tensors: &[(String, Vec<usize>, Vec<f32>)],
) -> Result<Vec<u8>, safetensors::SafeTensorError> {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, _, values)| values.iter().flat_map(|value| value.to_le_bytes()).collect())
        .collect();
    let mut views = Vec::with_capacity(tensors.len());
    for ((name, shape, _), bytes) in tensors.iter().zip(&bytes) {
        views.push((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes)?));
    }
    safetensors::serialize(views, None)
}
