//! Masks: who sees whom, and what a softmax makes of those that are barred.

use super::Evidence;
use super::attention_solve as solve;
use super::deviation::{Deviation, Leaks, Sees};
use super::search::Candidate;
use crate::Result;

pub(super) fn masks(e: &Evidence<'_>, _: &[Deviation]) -> Result<Vec<Candidate>> {
    if e.scores().is_none() {
        return Ok(vec![]);
    }
    let inverted = "your mask bars the past and shows the future";
    let mut all: Vec<Candidate> = [
        (Sees::All { pads: false }, "mask-missing", "you see the future: no causal mask"),
        (Sees::All { pads: true }, "mask-missing", "you see the future and padding: no mask"),
        (Sees::Future { own: false }, "mask-inverted", inverted),
        (Sees::Future { own: true }, "mask-inverted", inverted),
        (Sees::Before, "mask-twice", "a token does not see itself: causality is applied twice"),
        (Sees::AsRow0, "mask-first-row", "the mask of the batch's first row serves all rows"),
        (Sees::Pads { zero: false }, "pads-visible", "you see padding"),
        (Sees::Pads { zero: true }, "pads-visible", "padded keys have a score of 0, not −inf"),
    ]
    .map(|(sees, name, says)| Candidate::new(Deviation::Sees(sees), says).named(name))
    .into();
    let start = e.red.window.start;
    if start > 0 {
        let says = format!(
            "{start} tokens are cached, and your mask begins at its upper left corner: query i of the call sees key \
             j ≤ i only"
        );
        all.push(Candidate::new(Deviation::Sees(Sees::FromZero { start }), says).named("mask-square"));
    }
    if let Some(n) = solve::window(e) {
        let says = format!("a token sees the last {n} only; the config has no window");
        all.push(Candidate::new(Deviation::Sees(Sees::Last(n)), says).named("sliding-window"));
    }
    Ok(all)
}

pub(super) fn leaks(e: &Evidence<'_>, _: &[Deviation]) -> Result<Vec<Candidate>> {
    if !e.computes_softmax() {
        return Ok(vec![]);
    }
    let found = [(Leaks::Pads, "padded keys"), (Leaks::All, "barred keys")].map(|(leaks, what)| {
        let says = format!("{what} have a score of 0, not −inf: each takes its share of the softmax");
        Candidate::new(Deviation::Leaks(leaks), says)
    });
    Ok(found.into())
}
