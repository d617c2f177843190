//! Scores and context in rounded arithmetic, one head and one batch row per matrix product.

use candle_core::{Device, Tensor};

use super::precision::Precision;
use super::reordered::product;
use super::rows::Rows;
use super::sight::Sight;
use crate::Result;
use crate::graph::{Context, Scores};

/// q kᵀ of every query, head and slot before scale and mask, `[queries, heads * slots]`; 0 where a slot has
/// no key.
pub(super) fn query_key(
    precision: Precision,
    run: usize,
    q: &Rows,
    k: &Rows,
    sight: &Sight,
    scores: &Scores,
) -> Result<Vec<f32>> {
    let (d, t, heads) = (scores.head_dim, sight.keys.len(), scores.heads.len());
    let mut all = vec![0.0; q.len() * heads * t]; // [queries, heads * slots]
    each_group(sight, |batch, queries| {
        for (head, &looks_at) in scores.heads.iter().enumerate() {
            let q = columns(precision, q, queries.iter().map(|&r| Some(r)), head * d, d)?; // [group, head_dim]
            let keys = (0..t).map(|slot| sight.keys.at(batch, slot));
            let k = columns(precision, k, keys, looks_at * d, d)?; // [slots, head_dim]
            let rows = product(run, &q, &k)?.to_vec2::<f32>()?; // [group, slots]
            for (&query, row) in queries.iter().zip(rows) {
                all[(query * heads + head) * t..][..t].copy_from_slice(&row);
            }
        }
        Ok(())
    })?;
    Ok(all)
}

/// Σ probs · v of every query and head, `[queries, heads * head_dim]`.
pub(super) fn mixed(
    precision: Precision,
    run: usize,
    probs: &Rows,
    v: &Rows,
    sight: &Sight,
    context: &Context,
) -> Result<Vec<f32>> {
    let (d, t, heads) = (context.head_dim, sight.keys.len(), context.heads.len());
    let mut all = vec![0.0; probs.len() * heads * d]; // [queries, heads * head_dim]
    each_group(sight, |batch, queries| {
        for (head, &looks_at) in context.heads.iter().enumerate() {
            let p = columns(precision, probs, queries.iter().map(|&r| Some(r)), head * t, t)?; // [group, slots]
            let values = (0..t).map(|slot| sight.keys.at(batch, slot));
            let v = columns(precision, v, values, looks_at * d, d)?; // [slots, head_dim]
            let rows = product(run, &p, &v.t()?.contiguous()?)?.to_vec2::<f32>()?; // [group, head_dim]
            for (&query, row) in queries.iter().zip(rows) {
                all[(query * heads + head) * d..][..d].copy_from_slice(&row);
            }
        }
        Ok(())
    })?;
    Ok(all)
}

/// Calls `with` for each batch row and its queries. The queries must be ordered by place.
fn each_group(sight: &Sight, mut with: impl FnMut(usize, &[usize]) -> Result<()>) -> Result<()> {
    let queries: Vec<usize> = (0..sight.queries.len()).collect();
    queries
        .chunk_by(|&a, &b| sight.queries[a].0 == sight.queries[b].0)
        .try_for_each(|group| with(sight.queries[group[0]].0, group))
}

/// The columns `first..first + width` of these rows of x, rounded; 0 where there is no row: `[rows, width]`.
fn columns(
    precision: Precision,
    x: &Rows,
    rows: impl Iterator<Item = Option<usize>>,
    first: usize,
    width: usize,
) -> Result<Tensor> {
    let row = |row: Option<usize>| match row {
        Some(r) => precision.read(&x.row(r)[first..first + width]),
        None => vec![0.0; width],
    };
    let values: Vec<f32> = rows.flat_map(row).collect();
    let count = values.len() / width;
    Ok(Tensor::from_vec(values, (count, width), &Device::Cpu)?)
}
