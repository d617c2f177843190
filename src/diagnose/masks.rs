//! Finds wrong masks: keys that a query should or should not see, and masked keys that count in the softmax.

use super::Evidence;
use super::attention_solve as solve;
use super::deviation::{Deviation, Leaks, Sees};
use super::search::Candidate;
use crate::Result;

pub(super) fn masks(e: &Evidence<'_>, _: &[Deviation]) -> Result<Vec<Candidate>> {
    if e.scores().is_none() {
        return Ok(vec![]);
    }
    let inverted = "your mask is inverted: queries see future tokens and not past ones";
    let mut all: Vec<Candidate> = [
        (Sees::All { pads: false }, "mask-missing", "you apply no causal mask: queries see future tokens"),
        (
            Sees::All { pads: true },
            "mask-missing",
            "you apply no mask: queries see future tokens and padding",
        ),
        (Sees::Future { own: false }, "mask-inverted", inverted),
        (Sees::Future { own: true }, "mask-inverted", inverted),
        (Sees::Before, "mask-twice", "you apply the causal mask twice: a token does not see itself"),
        (Sees::AsRow0, "mask-first-row", "you use the mask of the batch's first row for all rows"),
        (Sees::Pads { zero: false }, "pads-visible", "you do not mask padding: queries see padded keys"),
        (Sees::Pads { zero: true }, "pads-visible", "you give padded keys a score of 0; it should be −inf"),
    ]
    .map(|(sees, name, says)| Candidate::new(Deviation::Sees(sees), says).named(name))
    .into();
    let start = e.context.window.start;
    if start > 0 {
        let says = format!(
            "{start} tokens are cached, but you align the mask to the upper left corner: query i of the call sees \
             only keys j ≤ i; it should see j ≤ i + {start}"
        );
        all.push(Candidate::new(Deviation::Sees(Sees::FromZero { start }), says).named("mask-square"));
    }
    if let Some(n) = solve::window(e) {
        let says = format!("you let a token see only the last {n} tokens; the config has no window");
        all.push(Candidate::new(Deviation::Sees(Sees::Last(n)), says).named("sliding-window"));
    }
    Ok(all)
}

pub(super) fn leaks(e: &Evidence<'_>, _: &[Deviation]) -> Result<Vec<Candidate>> {
    if !e.computes_softmax() {
        return Ok(vec![]);
    }
    let found = [(Leaks::Pads, "padded keys"), (Leaks::All, "masked keys")].map(|(leaks, what)| {
        let says =
            format!("you give {what} a score of 0; it should be −inf, or each takes a share of the softmax");
        Candidate::new(Deviation::Leaks(leaks), says)
    });
    Ok(found.into())
}
