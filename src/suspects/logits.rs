//! Logits: which row they are of, whether they have to do with the input at all, and what else can be
//! wrong in a product.

use std::collections::BTreeSet;

use super::fit::Fit;
use super::{Diagnosis, Evidence, Named, linear};
use crate::Result;
use crate::oracle::{Matrix, Rows};
use crate::probe::Kind;

/// Of a wider vocabulary this many tokens are computed again, evenly spread: the matrix of all of them is
/// large in float64, and a mistake of the product is in each.
const TOKENS: usize = 4096;

/// Which mistake of the head is it?
pub(super) fn diagnose(e: &Evidence<'_>) -> Result<Diagnosis> {
    debug_assert_eq!(e.red.site.kind, Kind::Logits);
    if let Some(named) = other_row(e) {
        return Ok(Diagnosis { named: vec![named], runner_up: None });
    }
    let tokens = tokens(e);
    let tied = e.config().tie_word_embeddings;
    let weight = if tied { "model.embed_tokens.weight" } else { "lm_head.weight" };
    let weight = Matrix::read_rows(e.red.weights, weight, &tokens)?; // [tokens, hidden]
    let mut diagnosis = linear::by(&of_tokens(e, &tokens), weight)?;
    if diagnosis.named.is_empty() {
        diagnosis.named.extend(unrelated(e));
    }
    Ok(diagnosis)
}

/// The tokens that are looked at. The largest logit of each row is among them: budgets are of its scale.
fn tokens(e: &Evidence<'_>) -> Vec<u32> {
    let width = e.want.width;
    let largest = |row: &[f64]| (0..width).max_by(|&a, &b| row[a].abs().total_cmp(&row[b].abs()));
    let every = width.div_ceil(TOKENS);
    let chosen: BTreeSet<usize> =
        (0..width).step_by(every).chain(e.want.iter().chain(e.got.iter()).filter_map(largest)).collect();
    chosen.into_iter().map(|id| id as u32).collect()
}

/// The same evidence of these tokens only.
fn of_tokens<'a>(e: &Evidence<'a>, tokens: &[u32]) -> Evidence<'a> {
    let cut = |rows: &Rows| rows.columns(tokens.len(), |j| tokens[j] as usize);
    Evidence {
        red: e.red.clone(),
        tokens: e.tokens.clone(),
        got: cut(&e.got),
        want: cut(&e.want),
        noise: e.noise.clone(),
        truth: e.truth,
    }
}

/// Logits of another row: the one before, the one after, the first, the last.
fn other_row(e: &Evidence<'_>) -> Option<Named> {
    let places = &e.tokens.places;
    let at = |r: usize, by: isize| {
        let (batch, slot) = places[r];
        places.binary_search(&(batch, slot.checked_add_signed(by)?)).ok()
    };
    let shifted = [(-1isize, "before"), (1, "after")].into_iter().find_map(|(by, said)| {
        let pairs: Vec<(usize, usize)> = (0..places.len()).filter_map(|r| Some((r, at(r, by)?))).collect();
        let fit = moved(e, &pairs)?;
        Some((fit, format!("your row t holds the logits of the row {said} it")))
    });
    let (fit, says) = shifted?;
    let fix =
        "take the logits of the row whose next token is wanted: of the last real token of each row".into();
    Some(Named { mistake: "logit-row", says, fix, residual: fit.residual, flips: fit.flips })
}

/// Is row `a` of the port what row `b` should be, for all of these, and at least two?
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

/// Logits that have nothing to do with truth, of a head that is tied.
fn unrelated(e: &Evidence<'_>) -> Option<Named> {
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
    // A row that is right depends on its input.
    let right = (0..rows).any(|r| e.wrong(r).next().is_none());
    let constant = (1..rows).all(|r| e.got.row(r) == e.got.row(0));
    if constant && !right {
        let says = "your logits do not depend on the input".into();
        let fix = "run the same on the CPU: a kernel of this device is missing or wrong".into();
        return Some(Named { mistake: "device-kernel", says, fix, residual: 0.0, flips: 0 });
    }
    let unrelated = (0..rows).all(|r| correlation(r).abs() < 0.3);
    unrelated.then(|| Named {
        mistake: "lm-head-random",
        says:
            "the final norm is right and your logits are unrelated to the reference's, row by row: your head \
               is not the embedding that the config ties it to"
                .into(),
        fix: "use the embedding as the output matrix where `tie_word_embeddings` is true".into(),
        residual: 0.0,
        flips: 0,
    })
}
