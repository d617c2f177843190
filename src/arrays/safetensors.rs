//! Reads the header of a safetensors file, and writes a file of tensors.

use std::fmt;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, SafeTensors, TensorView};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::files;

/// The longest accepted header, in bytes. One tensor takes about 120; the largest shards have a few thousand.
const LONGEST: u64 = 16 << 20;

/// The most tensors in a file.
const MOST: usize = 1 << 17;

/// Reads the header at the beginning of `bytes`: the offset of the first value, and the metadata of each
/// tensor. Every tensor is inside `bytes`. The result takes a few times the memory of the header.
///
/// # Errors
/// Says what is wrong with the header.
pub(crate) fn header(bytes: &[u8]) -> Result<(usize, Metadata), String> {
    let length = bytes.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
    if length > LONGEST && length <= bytes.len() as u64 {
        return Err(format!("its header has {length} bytes; at most {LONGEST} are allowed"));
    }
    let text =
        usize::try_from(length).ok().and_then(|length| bytes.get(8..)?.get(..length)).unwrap_or_default();
    // The crate reports all other errors in the header.
    if let Ok(entries) = serde_json::from_slice::<Entries>(text) {
        if entries.count > MOST {
            return Err(format!("its header has {} tensors; at most {MOST} are allowed", entries.count));
        }
        // The crate adds the length of the header and the last offset without an overflow check: an offset near 2⁶⁴
        // panics in debug builds and wraps in others.
        if entries.end > bytes.len() as u64 {
            return Err("a tensor ends past the end of the file: the file is cut off or damaged".into());
        }
    }
    let (length, header) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
    // If two tensors have the same name, the crate keeps an arbitrary one; this refuses them.
    files::json::<IgnoredAny>(&bytes[8..8 + length]).map_err(|error| format!("header: {error}"))?;
    Ok((8 + length, header))
}

/// The number of entries in a header, and the largest offset.
#[derive(Default)]
struct Entries {
    count: usize,
    end: u64,
}

/// What this module reads of one entry.
#[derive(serde::Deserialize)]
struct Offsets {
    #[serde(default)]
    data_offsets: Option<(IgnoredAny, Value)>,
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Self::default())
    }
}

impl<'de> Visitor<'de> for Entries {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while map.next_key::<IgnoredAny>()?.is_some() {
            let Offsets { data_offsets } = map.next_value()?;
            let end = data_offsets.and_then(|(_, end)| end.as_u64()).unwrap_or(0);
            self = Self { count: self.count + 1, end: self.end.max(end) };
        }
        Ok(self)
    }
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
