//! Finds mistakes in the logits: taken from another row, unrelated to the input, or a mistake of the linear
//! layer that computes them.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::fit::Fit;
use super::{Evidence, Named};
use crate::Result;
use crate::graph::{MatrixRows, Node, Operation, RowShape};
use crate::oracle::Rows;
use crate::probe::Kind;

/// Only this many tokens of a larger vocabulary are recomputed, evenly spread: the whole matrix is large in
/// float64, and a mistake in the product shows in every token.
const TOKENS: usize = 4096;

/// The same evidence, for logits only for a part of the vocabulary. A small vocabulary is recomputed as a whole, so
/// that the matrix can be read in another way.
///
/// # Errors
/// The graph cannot be changed.
pub(super) fn part<'a>(e: &Evidence<'a>) -> Result<Evidence<'a>> {
    let large = e.context.site.kind == Kind::Logits && e.want.width > TOKENS;
    if large { of_tokens(e, tokens(e)) } else { Ok(e.copy()) }
}

/// The tokens that are recomputed. They include the largest logit of each row, because it sets the budget.
fn tokens(e: &Evidence<'_>) -> Vec<u32> {
    let width = e.want.width;
    let largest = |row: &[f64]| (0..width).max_by(|&a, &b| row[a].abs().total_cmp(&row[b].abs()));
    let every = width.div_ceil(TOKENS);
    let chosen: BTreeSet<usize> =
        (0..width).step_by(every).chain(e.want.iter().chain(e.got.iter()).filter_map(largest)).collect();
    chosen.into_iter().map(|id| id as u32).collect()
}

/// The same evidence for these tokens only.
fn of_tokens<'a>(e: &Evidence<'a>, tokens: Vec<u32>) -> Result<Evidence<'a>> {
    let cut = |rows: &Rows| rows.columns(tokens.len(), |j| tokens[j] as usize);
    let (got, want) = (cut(&e.got), cut(&e.want));
    let graph = e.graph.with(|id, node| (id == e.id).then(|| only(node.clone(), &tokens)))?;
    Ok(Evidence { graph: Cow::Owned(graph), got, want, ..e.copy() })
}

/// The node of a product that computes only these columns.
fn only(mut node: Node, columns: &[u32]) -> Node {
    if let Operation::Linear(linear) = &mut node.operation {
        linear.rows = Some(MatrixRows::Listed(columns.to_vec()));
        node.shape = RowShape::Flat { width: columns.len() };
    }
    node
}

/// Finds logits that belong to the row before or the row after.
pub(super) fn other_row(e: &Evidence<'_>) -> Option<Named> {
    let places = &e.places;
    let at = |r: usize, by: isize| {
        let (batch, slot) = places[r];
        places.binary_search(&(batch, slot.checked_add_signed(by)?)).ok()
    };
    let shifted = [(-1isize, "before"), (1, "after")].into_iter().find_map(|(by, side)| {
        let pairs: Vec<(usize, usize)> = (0..places.len()).filter_map(|r| Some((r, at(r, by)?))).collect();
        let fit = moved(e, &pairs)?;
        Some((fit, format!("your row t contains the logits of the row {side} it")))
    });
    let (fit, says) = shifted?;
    Some(Named::new("logit-row", says).at(fit))
}

/// The fit if row `a` of the port is what row `b` should be, for all of at least two pairs (a, b).
fn moved(e: &Evidence<'_>, pairs: &[(usize, usize)]) -> Option<Fit> {
    let mut worst = Fit { residual: 0.0, flips: 0 };
    for &(a, b) in pairs {
        let (got, want) = (e.got.row(a), e.want.row(b));
        let budget = e.budget(b, want);
        if got.iter().any(|g| g.is_nan()) {
            return None;
        }
        let error = got.iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0.0, f64::max);
        worst.residual = worst.residual.max(error / budget.max);
    }
    (pairs.len() > 1 && worst.residual <= 1.0).then_some(worst)
}

/// Finds logits that are unrelated to the reference, where the config ties the head to the embedding.
pub(super) fn unrelated(e: &Evidence<'_>) -> Option<Named> {
    let correlation = |r: usize| {
        let (got, want) = (e.got.row(r), e.want.row(r));
        let n = got.len() as f64;
        let (mg, mw) = (got.iter().sum::<f64>() / n, want.iter().sum::<f64>() / n);
        let (mut gw, mut gg, mut ww) = (0.0, 0.0, 0.0);
        for (g, w) in got.iter().zip(want) {
            gw += (g - mg) * (w - mw);
            gg += (g - mg) * (g - mg);
            ww += (w - mw) * (w - mw);
        }
        gw / (gg * ww).sqrt()
    };
    let rows = e.got.len();
    if rows < 2 || !e.config().tie_word_embeddings {
        return None;
    }
    // If a row is right, the logits do depend on the input.
    let right = (0..rows).any(|r| e.wrong(r).next().is_none());
    let constant = (1..rows).all(|r| e.got.row(r) == e.got.row(0));
    if constant && !right {
        let says = "your logits are the same for every input; they must depend on it";
        return Some(Named::new("device-kernel", says));
    }
    let unrelated = (0..rows).all(|r| correlation(r).abs() < 0.3);
    unrelated.then(|| {
        let says = "your final norm is right, but every row of your logits is unrelated to the reference: your \
                    lm_head is not the embedding matrix that the config ties it to";
        Named::new("lm-head-random", says)
    })
}
