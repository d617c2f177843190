//! Reads the header of a GGUF file as untrusted input.
//!
//! Candle has a reader too, but it divides by a zero alignment, overflows on large dimensions, keeps the last
//! of two equal names and decodes every array at once. Guarding it would need the same walk over the file as
//! replacing it. Format: `docs/gguf.md` in ggml-org/ggml.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::quantized::GgmlDType;

use super::cursor::{Cursor, Lengths, Problem};
use super::value::Value;
use crate::files::short_name;

const DEFAULT_ALIGNMENT: u64 = 32;
const MAX_DIMS: u32 = 4;

/// The most tensors, and the most metadata values. The largest models have a few thousand tensors.
const MOST: u64 = 1 << 17;

/// A tensor as the header describes it.
#[derive(Clone, Debug)]
pub(super) struct TensorInfo {
    pub(super) dtype: GgmlDType,
    /// Rows first: the reverse of the order in the file.
    pub(super) shape: Vec<usize>,
    /// From the start of the file.
    pub(super) bytes: Range<usize>,
}

/// Everything in front of the tensor data.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) metadata: BTreeMap<String, Value>,
    pub(super) tensors: BTreeMap<String, TensorInfo>,
}

impl Header {
    /// Reads and checks a whole header. The result can be trusted: names are unique, and every tensor is
    /// inside the file, aligned, does not overlap another, and has the right size for its type and shape.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Problem> {
        let mut cursor = Cursor::new(bytes, 0, Lengths::Long);
        let lengths = version(&mut cursor, bytes)?;
        cursor.set_lengths(lengths);
        // Name length, rank, one dimension, type, offset; key length, type, one byte.
        let tensor_count = items(&mut cursor, 4 + 4 + 4 + 4 + 8, "a tensor count")?;
        let value_count = items(&mut cursor, 4 + 4 + 1, "a metadata count")?;

        let mut metadata = BTreeMap::new();
        for _ in 0..value_count {
            let key = cursor.string("a metadata key")?;
            let value = Value::scan(&mut cursor, bytes)
                .map_err(|why| why.within(format_args!("metadata `{}`", short_name(key))))?;
            if metadata.insert(key.to_owned(), value).is_some() {
                return Err(Problem::damaged(format!("metadata `{}` appears twice", short_name(key))));
            }
        }
        let mut found = Vec::new();
        for _ in 0..tensor_count {
            let name = cursor.string("a tensor name")?;
            found.push(
                TensorEntry::read(&mut cursor, name)
                    .map_err(|why| why.within(format_args!("tensor `{}`", short_name(name))))?,
            );
        }
        let alignment = alignment(&metadata, bytes)?;
        let data = (cursor.position() as u64).next_multiple_of(alignment);
        let tensors = place(found, data, alignment, bytes.len())?;
        Ok(Self { metadata, tensors })
    }
}

/// A number of items that take at least `least` bytes each.
fn items(cursor: &mut Cursor, least: u64, what: &str) -> Result<u64, Problem> {
    match cursor.count(least, what)? {
        count if count > MOST => {
            Err(Problem::unsupported(format!("{what} of {count}: at most {MOST} are allowed")))
        }
        count => Ok(count),
    }
}

/// Reads the version, which decides how wide lengths are.
fn version(cursor: &mut Cursor, bytes: &[u8]) -> Result<Lengths, Problem> {
    if !bytes.starts_with(b"GGUF") {
        return Err(Problem {
            what: "is not a GGUF file: it does not start with `GGUF`".into(),
            hint: "pass a .gguf file, or a directory with config.json and safetensors",
        });
    }
    cursor.skip(4, "the magic number")?;
    match cursor.u32("the version")? {
        1 => Ok(Lengths::Short),
        2 | 3 => Ok(Lengths::Long),
        version if (1..=3).contains(&version.swap_bytes()) => {
            Err(Problem::unsupported("big-endian GGUF is not supported"))
        }
        version => {
            Err(Problem::unsupported(format!("GGUF version {version} is not supported; use version 1 to 3")))
        }
    }
}

fn alignment(metadata: &BTreeMap<String, Value>, bytes: &[u8]) -> Result<u64, Problem> {
    let Some(value) = metadata.get("general.alignment") else { return Ok(DEFAULT_ALIGNMENT) };
    if let Some(count) = value.count() {
        return Err(Problem::damaged(format!("`general.alignment` is an array of {count} values")));
    }
    let value = value.to_json(bytes);
    match value.as_u64() {
        // The specification requires a multiple of 8; Candle's block types need at least 4.
        Some(n) if n.is_power_of_two() && (8..=1 << 30).contains(&n) => Ok(n),
        _ => Err(Problem::damaged(format!(
            "`general.alignment` is {value}, which is not a power of two of at least 8"
        ))),
    }
}

/// A tensor as read; its place has not been checked yet.
struct TensorEntry<'a> {
    name: &'a str,
    dtype: GgmlDType,
    shape: Vec<usize>,
    offset: u64,
    size: u64,
}

impl<'a> TensorEntry<'a> {
    fn read(cursor: &mut Cursor, name: &'a str) -> Result<Self, Problem> {
        let rank = cursor.u32("a rank")?;
        if !(1..=MAX_DIMS).contains(&rank) {
            return Err(Problem::damaged(format!("has {rank} dimensions, but must have 1 to {MAX_DIMS}")));
        }
        let dims = (0..rank).map(|_| cursor.length("a dimension")).collect::<Result<Vec<_>, _>>()?;
        let dtype = block_type(cursor.u32("a tensor type")?)?;
        let offset = cursor.u64("a tensor offset")?;

        let (block, row) = (dtype.block_size() as u64, dims[0]);
        if dims.contains(&0) {
            return Err(Problem::damaged(format!("has a dimension of 0 in {dims:?}")));
        }
        if !row.is_multiple_of(block) {
            return Err(Problem::damaged(format!(
                "has rows of {row}, which is not a multiple of the {dtype:?} block size {block}"
            )));
        }
        let size = dims
            .iter()
            .try_fold(1u64, |product, &dim| product.checked_mul(dim))
            .and_then(|elements| (elements / block).checked_mul(dtype.type_size() as u64))
            // Dequantised, a quarter byte may become eight bytes.
            .filter(|&size| size < (isize::MAX / 64) as u64)
            .ok_or_else(|| {
                Problem::damaged(format!("has dimensions {dims:?}, more than memory can address"))
            })?;
        let shape = dims.iter().rev().map(|&dim| dim as usize).collect();
        Ok(Self { name, dtype, shape, offset, size })
    }
}

/// Computes the place of every tensor and checks it.
fn place(
    found: Vec<TensorEntry>,
    data: u64,
    alignment: u64,
    end: usize,
) -> Result<BTreeMap<String, TensorInfo>, Problem> {
    let mut tensors = BTreeMap::new();
    let mut places = Vec::with_capacity(found.len());
    for TensorEntry { name, dtype, shape, offset, size } in found {
        if !offset.is_multiple_of(alignment) {
            return Err(Problem::damaged(format!(
                "tensor `{}`: offset {offset} is not a multiple of the alignment {alignment}",
                short_name(name)
            )));
        }
        let start = data.checked_add(offset);
        let bytes = match (start, start.and_then(|start| start.checked_add(size))) {
            (Some(start), Some(stop)) if stop <= end as u64 => start as usize..stop as usize,
            _ => {
                return Err(Problem::damaged(format!(
                    "tensor `{}`: {size} bytes at offset {data} + {offset} do not fit; the file ends at {end}",
                    short_name(name)
                )));
            }
        };
        places.push((bytes.start, bytes.end, name));
        if tensors.insert(name.to_owned(), TensorInfo { dtype, shape, bytes }).is_some() {
            return Err(Problem::damaged(format!("tensor `{}` appears twice", short_name(name))));
        }
    }
    places.sort_unstable();
    match places.windows(2).find(|pair| pair[1].0 < pair[0].1) {
        Some(pair) => {
            let [one, other] = [pair[0].2, pair[1].2].map(short_name);
            Err(Problem::damaged(format!("tensors `{one}` and `{other}` overlap")))
        }
        None => Ok(tensors),
    }
}

/// The types that Candle can compute with, by their code in the file (`ggml_type` in ggml.h).
fn block_type(code: u32) -> Result<GgmlDType, Problem> {
    use GgmlDType::*;
    let known = match code {
        0 => F32,
        1 => F16,
        2 => Q4_0,
        3 => Q4_1,
        6 => Q5_0,
        7 => Q5_1,
        8 => Q8_0,
        10 => Q2K,
        11 => Q3K,
        12 => Q4K,
        13 => Q5K,
        14 => Q6K,
        30 => BF16,
        _ => return Err(Problem::unsupported(format!("type {} is not supported", type_name(code)))),
    };
    Ok(known)
}

/// Names of the types that cannot be read, so that users can search for the message.
fn type_name(code: u32) -> String {
    const NAMES: &[(u32, &str)] = &[
        (4, "Q4_2"),
        (5, "Q4_3"),
        (9, "Q8_1"),
        (15, "Q8_K"),
        (16, "IQ2_XXS"),
        (17, "IQ2_XS"),
        (18, "IQ3_XXS"),
        (19, "IQ1_S"),
        (20, "IQ4_NL"),
        (21, "IQ3_S"),
        (22, "IQ2_S"),
        (23, "IQ4_XS"),
        (24, "I8"),
        (25, "I16"),
        (26, "I32"),
        (27, "I64"),
        (28, "F64"),
        (29, "IQ1_M"),
        (31, "Q4_0_4_4"),
        (32, "Q4_0_4_8"),
        (33, "Q4_0_8_8"),
        (34, "TQ1_0"),
        (35, "TQ2_0"),
        (36, "IQ4_NL_4_4"),
        (37, "IQ4_NL_4_8"),
        (38, "IQ4_NL_8_8"),
        (39, "MXFP4"),
        (40, "NVFP4"),
    ];
    match NAMES.iter().find(|(known, _)| *known == code) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("number {code}"),
    }
}
