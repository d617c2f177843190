//! Reads the archive that `torch.save` writes: a pickle, and a member for the values of each storage.

use std::collections::HashMap;

use safetensors::Dtype;

use super::bytes::Bytes;
use super::npz::{Member, Members};
use super::pickle::{self, Pickled};
use super::strided::Strided;
use crate::files::short_name;

/// How many times more entries than its storage a tensor may have. Heads that are repeated without a copy have as many
/// times more as a key head has query heads.
const EXPANDED: usize = 128;

/// How many times the file's size all storages of all tensors may have together. They are read one after another, so
/// tensors that share storages in turn take time.
const SHARED: usize = 1024;

/// The first bytes of a file that PyTorch wrote before version 1.6.
const OLD: &[u8] = b"\x80\x02\x8a\x0a";

/// Name, type and dimensions of an array, the index of its member, and the order of its values.
type Array = (String, Dtype, Vec<usize>, usize, Strided);

/// The archive and its arrays.
///
/// # Errors
/// Says what is wrong: the file is not one of `torch.save`; it contains anything but tensors; a tensor is not inside
/// its storage.
pub(super) fn arrays(bytes: Bytes) -> Result<(Members, Vec<Array>), String> {
    let (old, length) = (bytes.starts_with(OLD), bytes.len());
    let mut members = Members::open(bytes).map_err(|why| {
        if old {
            "PyTorch wrote it before version 1.6: load it and save it again with torch.save".to_owned()
        } else {
            format!("it is not a file of torch.save: {why}")
        }
    })?;
    let all: HashMap<String, Member> =
        members.all()?.into_iter().map(|member| (member.name.clone(), member)).collect();
    let mut pickles = all.keys().filter_map(|name| name.strip_suffix("data.pkl"));
    let (Some(folder), None) = (pickles.next(), pickles.next()) else {
        return Err("it is not a file of torch.save: it needs one member data.pkl".into());
    };
    if all.keys().any(|name| name.starts_with(&format!("{folder}code/"))) {
        return Err("it is a TorchScript program, not a dict of tensors".into());
    }
    if let Some(order) = all.get(&format!("{folder}byteorder"))
        && members.beginning(order.index, 16)? != b"little"
    {
        return Err("its numbers are not little-endian".into());
    }
    let pickle = &all[&format!("{folder}data.pkl")];
    if pickle.size > pickle::LONGEST {
        return Err(format!("its pickle has {} bytes; at most {} are allowed", pickle.size, pickle::LONGEST));
    }
    let tensors = pickle::tensors(&members.whole(pickle.index)?)?;
    let mut left = length.saturating_mul(SHARED);
    let array = |tensor: Pickled| {
        let storage = all.get(&format!("{folder}data/{}", tensor.storage));
        let storage =
            storage.ok_or_else(|| format!("the values of `{}` are missing", short_name(&tensor.name)))?;
        placed(&tensor, storage)?;
        left =
            left.checked_sub(storage.size).ok_or("its tensors share their values too often: save copies")?;
        let Pickled { name, dtype, shape, strides, offset, .. } = tensor;
        Ok((name, dtype, shape, storage.index, Strided { offset, strides }))
    };
    let arrays = tensors.into_iter().map(array).collect::<Result<Vec<_>, String>>()?;
    Ok((members, arrays))
}

/// Checks that every entry of the tensor is inside its storage.
fn placed(tensor: &Pickled, storage: &Member) -> Result<(), String> {
    let Pickled { name, dtype, shape, strides, offset, entries, .. } = tensor;
    let name = short_name(name);
    let width = dtype.bitsize() / 8;
    if entries.checked_mul(width) != Some(storage.size) {
        return Err(format!(
            "`{name}` has {entries} values of {dtype:?}, but their member has {} bytes",
            storage.size
        ));
    }
    let count = shape.iter().try_fold(1usize, |count, &n| count.checked_mul(n));
    if count.is_none_or(|count| count > entries.saturating_mul(EXPANDED)) {
        return Err(format!(
            "`{name}` has shape {shape:?}, but only {entries} values: save a contiguous copy"
        ));
    }
    let steps = shape.iter().zip(strides);
    let last = steps.clone().try_fold(*offset, |at, (&n, &stride)| {
        n.saturating_sub(1).checked_mul(stride).and_then(|step| at.checked_add(step))
    });
    match last {
        Some(last) if last < *entries || count == Some(0) => Ok(()),
        _ => Err(format!("`{name}` of shape {shape:?} ends past its {entries} values")),
    }
}
