//! Reads the header of a safetensors file, and writes a file of tensors.

use safetensors::Dtype;
use safetensors::tensor::{Metadata, SafeTensors, TensorView};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::files;

/// Reads the header at the beginning of `bytes`: the offset of the first value, and the metadata of each
/// tensor. Every tensor is inside `bytes`.
///
/// # Errors
/// Says what is wrong with the header.
pub(crate) fn header(bytes: &[u8]) -> Result<(usize, Metadata), String> {
    if !ends_are_inside(bytes) {
        return Err("a tensor ends past the end of the file: the file is cut off or damaged".into());
    }
    let (length, header) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
    // If two tensors have the same name, the crate keeps an arbitrary one; this refuses them.
    files::json::<IgnoredAny>(&bytes[8..8 + length]).map_err(|error| format!("header: {error}"))?;
    Ok((8 + length, header))
}

/// Whether all tensors end inside the file. The safetensors crate adds header length and last offset without
/// an overflow check: an offset near 2⁶⁴ panics in debug builds and wraps in others. This check runs before
/// it; all other errors in the header are left for the crate to report.
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

/// Writes a file of float32 tensors, each given by name, shape and values.
///
/// # Errors
/// The number of values does not match the shape.
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
