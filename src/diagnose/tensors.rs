//! Finds the mistake in a weight that differs from what PyTorch reads: undoes each known mistake and checks
//! whether the hash becomes right.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use super::Named;
use crate::Result;
use crate::probe::Layout;
use crate::weights::{RopeLayout, Weights, sha256_of};

/// The diagnosis of a tensor that the port does not have.
pub fn absent(name: &str) -> Named {
    Named::new(
        "absent-tensors",
        format!("you do not load {name}: the values used in its place were never trained"),
    )
}

/// The mistake that made tensor `name` of `weights`, whose hash should be `right[name]`.
///
/// # Errors
/// The tensor cannot be read.
pub fn altered(weights: &Weights, name: &str, right: &BTreeMap<&str, &str>) -> Result<Option<Named>> {
    let tensor = weights.canonical(name)?;
    let Some(&want) = right.get(name) else { return Ok(None) };
    let is = |tensor: &Tensor| Ok::<_, crate::Error>(sha256_of(&tensor.contiguous()?)? == want);
    let named = |mistake, says: &str| Ok(Some(Named::new(mistake, says)));
    if name.ends_with("norm.weight") {
        for (by, says) in
            [(-1.0, "you add 1 to the norm's weight"), (1.0, "you subtract 1 from the norm's weight")]
        {
            if is(&(&tensor + by)?)? {
                return named("norm-plus-one", says);
            }
        }
    }
    let values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
    if values.iter().all(|&v| v == 0.0) || values.iter().all(|&v| v == 1.0) {
        return named("absent-tensors", "you never load this tensor: all its values are the same number");
    }
    if name.ends_with("q_proj.weight") || name.ends_with("k_proj.weight") {
        for permuted in permuted(&tensor, weights.config().head_dim)? {
            if is(&permuted)? {
                return named(
                    "unpermuted-qk",
                    "your tensor has the right rows, but in another order within each head: permuted for the other rope",
                );
            }
        }
    }
    let own = sha256_of(&tensor)?;
    if let Some((other, _)) = right.iter().find(|(other, hash)| **hash == own && **other != name) {
        let says = format!("your tensor is the reference's {other}");
        let mistake = match name {
            _ if name.contains(".mlp.") => "gate-up-swapped",
            _ if name.contains(".self_attn.") && same_layer(name, other) => "qkv-split",
            _ => return Ok(None),
        };
        return named(mistake, &says);
    }
    if let &[out, width] = tensor.dims()
        && (is(&tensor.t()?)? || is(&tensor.reshape((width, out))?.t()?)?)
    {
        return named("weight-transposed", "your tensor is the transpose of the reference's");
    }
    if name.contains(".self_attn.") && split(weights, name, &is)? {
        return named("qkv-split", "your tensor has rows of q, k and v in the wrong places");
    }
    if name == "lm_head.weight" && right.get("model.embed_tokens.weight") == Some(&want) {
        return named("lm-head-random", "your lm_head is not the embedding matrix; the two should be equal");
    }
    Ok(None)
}

fn same_layer(a: &str, b: &str) -> bool {
    let layer = |name: &str| name.split('.').nth(2).map(str::to_owned);
    layer(a) == layer(b)
}

/// The tensor with the rows of each head in the two other orders that occur in files.
fn permuted(tensor: &Tensor, head_dim: usize) -> Result<Vec<Tensor>> {
    let (rows, width) = tensor.dims2()?;
    if head_dim == 0 || !rows.is_multiple_of(head_dim) || !head_dim.is_multiple_of(2) {
        return Ok(vec![]);
    }
    let (heads, half) = (rows / head_dim, head_dim / 2);
    let order = |a, b| -> Result<Tensor> {
        let parts = tensor.reshape((heads, a, b, width))?.transpose(1, 2)?.contiguous()?;
        Ok(parts.reshape((rows, width))?)
    };
    Ok(vec![order(half, 2)?, order(2, half)?])
}

/// Whether the right tensor follows from the port's q, k and v if the port split the fused matrix in the
/// wrong way: group by group where it stores all q, then all k, then all v, or the reverse.
fn split(weights: &Weights, name: &str, is: &dyn Fn(&Tensor) -> Result<bool>) -> Result<bool> {
    let Some((layer, part)) = name.split_once(".self_attn.") else { return Ok(false) };
    let read =
        |part: &str| weights.tensor(&format!("{layer}.self_attn.{part}.weight"), DType::F32, &Device::Cpu);
    let (q, k, v) = (read("q_proj")?, read("k_proj")?, read("v_proj")?);
    let (nq, nk) = (q.dim(0)?, k.dim(0)?);
    let d = weights.config().head_dim;
    let groups = nk / d.max(1);
    if groups == 0 || v.dim(0)? != nk || !nq.is_multiple_of(groups) {
        return Ok(false);
    }
    let parts = ["q_proj.weight", "k_proj.weight", "v_proj.weight"];
    let Some(which) = parts.iter().position(|p| *p == part) else { return Ok(false) };
    // Rows of q and k may have another order in the file than in the reference.
    let in_file = match (weights.config().rope_layout, which) {
        (RopeLayout::Interleaved, 0 | 1) => Layout::Interleaved { head_dim: d },
        _ => Layout::Reference,
    };
    let is = |rows: &Tensor| match in_file.columns(rows.dim(0)?) {
        None => is(&rows.contiguous()?),
        Some(order) => {
            let order: Vec<u32> = order.into_iter().map(|row| row as u32).collect();
            is(&rows.contiguous()?.index_select(&Tensor::new(order, rows.device())?, 0)?)
        }
    };
    // First rebuild the fused matrix, for each way in which the port may have split it …
    let per = nq / groups;
    let group = |g: usize| -> Result<Tensor> {
        let rows = [q.narrow(0, g * per, per)?, k.narrow(0, g * d, d)?, v.narrow(0, g * d, d)?];
        Ok(Tensor::cat(&rows, 0)?)
    };
    let grouped = Tensor::cat(&(0..groups).map(group).collect::<Result<Vec<_>>>()?, 0)?;
    let orders = [[&q, &k, &v], [&q, &v, &k], [&k, &q, &v], [&k, &v, &q], [&v, &k, &q], [&v, &q, &k]];
    let mut fused = vec![grouped];
    for order in orders {
        fused.push(Tensor::cat(&order, 0)?);
    }
    // … then split it in each of the right ways.
    for fused in &fused {
        let (start, rows) = [(0, nq), (nq, nk), (nq + nk, nk)][which];
        if is(&fused.narrow(0, start, rows)?)? {
            return Ok(true);
        }
        let cut = |g: usize| -> Result<Tensor> {
            let base = g * (per + 2 * d);
            let (start, rows) = [(0, per), (per, d), (per + d, d)][which];
            Ok(fused.narrow(0, base + start, rows)?)
        };
        if is(&Tensor::cat(&(0..groups).map(cut).collect::<Result<Vec<_>>>()?, 0)?)? {
            return Ok(true);
        }
    }
    Ok(false)
}
