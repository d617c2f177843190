//! Rows of a weight that stand elsewhere: within a head, in another of q, k and v, in the other of gate
//! and up. They are found by their outputs, column by column.

use super::Evidence;
use super::linear_choice::Linear;
use super::search::Turned;
use crate::Result;
use crate::oracle::Rows;
use crate::probe::{Kind, Layout};

/// The outputs that a port may have mixed up with this one's, side by side.
pub(super) fn among(e: &Evidence<'_>) -> Option<Rows> {
    let kinds: &[Kind] = match e.red.site.kind {
        Kind::QProj | Kind::KProj | Kind::VProj => &[Kind::QProj, Kind::KProj, Kind::VProj],
        Kind::Gate | Kind::Up => &[Kind::Gate, Kind::Up],
        _ => return None,
    };
    let all = kinds.iter().map(|&kind| e.fed(e.beside(kind))).collect::<Option<Vec<_>>>()?;
    let width = all.iter().map(|rows| rows.width).sum();
    let row = |r: usize| all.iter().flat_map(move |rows| rows.row(r)).copied();
    Some(Rows::new(width, (0..e.got.len()).flat_map(row).collect()))
}

/// Where each column of the port's is found among those that it may be mixed up with.
pub(super) fn found(e: &Evidence<'_>, choice: &Linear) -> Result<Vec<Turned<Linear>>> {
    let Some(all) = among(e) else { return Ok(vec![]) };
    let start = match e.red.site.kind {
        Kind::KProj => e.config().query_width(),
        Kind::VProj => e.config().query_width() + e.config().key_width(),
        Kind::Up => e.config().intermediate_size,
        _ => 0,
    };
    let budgets: Vec<f64> = (0..e.got.len()).map(|r| e.budget(r, e.got.row(r)).max).collect();
    let same =
        |j: usize, c: usize| (0..e.got.len()).all(|r| (e.got.row(r)[j] - all.row(r)[c]).abs() <= budgets[r]);
    // One token alone cannot tell columns apart for sure.
    if e.got.len() < 2 {
        return Ok(vec![]);
    }
    let find = |j: usize| std::iter::once(start + j).chain(0..all.width).find(|&c| same(j, c));
    let Some(columns) = (0..e.got.width).map(find).collect::<Option<Vec<usize>>>() else { return Ok(vec![]) };
    let d = e.config().head_dim;
    let own = columns.iter().all(|c| (start..start + e.got.width).contains(c));
    let in_heads = columns.iter().enumerate().all(|(j, c)| (start + j) / d == c / d);
    let order = order(&columns.iter().map(|c| c.wrapping_sub(start)).collect::<Vec<_>>(), d);
    let knobs = Linear { columns: Some(columns), ..choice.clone() };
    Ok(vec![match e.red.site.kind {
        Kind::Gate | Kind::Up => {
            let (is, other) = if e.red.site.kind == Kind::Gate { ("gate", "up") } else { ("up", "gate") };
            let says = format!("your {is}_proj gives what {other}_proj should");
            Turned::new(knobs, says, "exchange the two weights").named("gate-up-swapped")
        }
        Kind::QProj | Kind::KProj if own && in_heads => {
            let says = format!("your rows are the right ones in another order within each head: {order}");
            let fix = "GGUF's q and k rows lie for `rope_i`, Hugging Face's for `rope`: permute exactly once, \
                       or rotate as the file wants it";
            Turned::new(knobs, says, fix).named("unpermuted-qk")
        }
        _ => {
            let says = "your rows are right ones of q, k and v, at the wrong places";
            Turned::new(
                knobs,
                says,
                "split a fused matrix as it was put together: all q, then all k, then all v",
            )
        }
    }])
}

/// Columns of the port's, by where truth has them: which order that is.
fn order(columns: &[usize], head_dim: usize) -> String {
    let there = Layout::Interleaved { head_dim }.columns(columns.len()).unwrap_or_default();
    let back = |(j, &c): (usize, &usize)| there.get(c) == Some(&j);
    if columns.iter().enumerate().all(back) {
        return "permuted for `rope_i`, as GGUF has them".into();
    }
    if columns == there {
        return "un-permuted as if they lay for `rope_i`, and they did not".into();
    }
    let moved = columns.iter().enumerate().filter(|(j, c)| j != *c);
    let first = moved.clone().next().map_or(String::new(), |(j, c)| format!(", row {j} is row {c}"));
    format!("{} of {} are moved{first}", moved.count(), columns.len())
}
