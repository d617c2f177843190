//! Keys and values read from memory without its strides.

use super::Evidence;
use super::attend::{Attend, Misread};
use super::search::Turned;
use crate::Result;
use crate::oracle::Rows;
use crate::probe::Kind;

pub(super) fn misread(e: &Evidence<'_>, choice: &Attend) -> Result<Vec<Turned<Attend>>> {
    let whole = e.red.all.places.len() == e.red.all.length && e.red.all.batch().iter().all(|&b| b == 0);
    if e.red.site.kind == Kind::Probs || !whole {
        return Ok(vec![]);
    }
    let fix = "call `contiguous()` before a kernel that reads plain memory";
    let turned = |how, says: String| Turned::new(Attend { misread: Some(how), ..choice.clone() }, says, fix);
    let mut all = vec![turned(
        Misread::Heads,
        "keys or values are read as they lie in memory, [seq, heads, head_dim], where [heads, seq, head_dim] was \
         meant: strides are ignored"
            .into(),
    )];
    for length in (5..14).map(|power| 1 << power).chain([e.config().max_position_embeddings]) {
        let says = "keys or values are read as if the cache's buffer were no longer than what is in it: strides \
                    are ignored";
        all.push(turned(Misread::Buffer { length }, says.into()));
    }
    Ok(all)
}

/// Keys or values of one sequence, read from memory without its strides.
pub(super) fn read(e: &Evidence<'_>, x: &Rows, head_dim: usize, how: Misread) -> Option<Rows> {
    let (s, heads) = (e.red.window.end.min(x.len()), x.width / head_dim);
    let entry = |r: usize, j: usize| {
        let (head, i) = (j / head_dim, j % head_dim);
        let n = head * s + r;
        match how {
            Misread::Heads => x.values[n * head_dim + i],
            Misread::Buffer { length } => match (n / length, n % length) {
                (head, slot) if head < heads && slot < s => x.row(slot)[head * head_dim + i],
                _ => 0.0,
            },
        }
    };
    (x.len() == e.red.all.length).then(|| {
        // Slots behind the call's end are not looked at.
        Rows::from_fn(x.len(), x.width, |r, j| if r < s { entry(r, j) } else { 0.0 })
    })
}
