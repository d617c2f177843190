//! Attention for one head and one block of queries at a time, so that the full score tensor of a long pass is
//! never in memory.

use super::arithmetic::Arithmetic;
use super::pass::{Pass, Place};
use super::rows::Rows;
use super::sight::{RowPlaces, Sight};
use super::slots::Slots;
use crate::Result;
use crate::graph::{Context, HeadMap, Scores};

/// Queries per block. All keys are prepared again for each block, so small blocks are slow.
const BLOCK: usize = 256;

/// The arithmetic of each step of attention.
pub(super) struct Steps<A> {
    pub scores: A,
    pub softmax: A,
    pub context: A,
}

/// The queries' places and the keys and values of one attention layer.
pub(super) struct Looks<'a> {
    pub pass: &'a Pass,
    /// The place of each query.
    pub places: &'a [Place],
    /// Rotated keys, and which of their rows is in each slot.
    pub keys: (&'a Rows, &'a Slots),
    /// Values, and which of their rows is in each slot.
    pub values: (&'a Rows, &'a Slots),
}

/// The context of the queries q, `[queries, heads * head_dim]`: the same result as with the full score
/// tensor.
pub(super) fn attend<A: Arithmetic>(
    steps: &Steps<A>,
    q: &Rows,
    looks: &Looks,
    scores: &Scores,
    context: &Context,
) -> Result<Rows> {
    let (d, width) = (scores.head_dim, context.heads.len() * context.head_dim);
    let mut merged = Rows { width, values: vec![0.0; q.len() * width] }; // [queries, heads * head_dim]
    for (head, (&key, &value)) in scores.heads.iter().zip(context.heads.iter()).enumerate() {
        let scores = Scores { heads: HeadMap::new(vec![key]), ..scores.clone() };
        let context = Context { heads: HeadMap::new(vec![value]), ..context.clone() };
        for (n, places) in looks.places.chunks(BLOCK).enumerate() {
            let first = n * BLOCK;
            let q = Rows::from_fn(places.len(), d, |r, j| q.row(first + r)[head * d + j]); // [block, head_dim]
            let sight = |keys| Sight::new(looks.pass, places, keys);
            let block = steps.scores.scores(&q, looks.keys.0, &sight(looks.keys.1), &scores)?; // [block, slots]
            let (values, seen) = (looks.values.0, sight(looks.values.1));
            let block = match steps.context.in_one_pass(&block, values, &seen, &context) {
                Some(block) => block,
                None => {
                    let at = RowPlaces { pass: looks.pass, places };
                    let block = steps.softmax.softmax(&block, looks.pass.length(), &at); // [block, slots]
                    steps.context.context(&block, values, &seen, &context)?
                }
            }; // [block, head_dim]
            for (r, row) in block.iter().enumerate() {
                let start = (first + r) * width + head * context.head_dim;
                merged.values[start..start + context.head_dim].copy_from_slice(row);
            }
        }
    }
    Ok(merged)
}
