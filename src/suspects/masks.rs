//! Masks: who sees whom, and what a softmax makes of those that are barred.

use super::Evidence;
use super::attend::{Attend, Leaks, Sees, from_queries, fused};
use super::attention_solve as solve;
use super::search::Turned;
use crate::Result;
use crate::probe::Kind;

pub(super) fn masks(e: &Evidence<'_>, choice: &Attend) -> Result<Vec<Turned<Attend>>> {
    if !from_queries(e) {
        return Ok(vec![]);
    }
    let turned = |sees, name, says: String, fix: &str| {
        Turned::new(Attend { sees, ..choice.clone() }, says, fix).named(name)
    };
    let causal = "bar key j to query i unless j ≤ i + (keys − queries)";
    let mut all = vec![
        turned(
            Sees::All { pads: false },
            "mask-missing",
            "you see the future: no causal mask".into(),
            causal,
        ),
        turned(
            Sees::All { pads: true },
            "mask-missing",
            "you see the future and padding: no mask".into(),
            causal,
        ),
        turned(
            Sees::Future { own: false },
            "mask-inverted",
            "your mask bars the past and shows the future".into(),
            causal,
        ),
        turned(
            Sees::Future { own: true },
            "mask-inverted",
            "your mask bars the past and shows the future".into(),
            causal,
        ),
        turned(
            Sees::Before,
            "mask-twice",
            "a token does not see itself: causality is applied twice".into(),
            "mask once: either a mask or a causal kernel, with the diagonal kept",
        ),
        turned(
            Sees::AsRow0,
            "mask-first-row",
            "the mask of the batch's first row serves all rows".into(),
            "make the mask [batch, 1, queries, keys], each row with its own padding",
        ),
        turned(
            Sees::Pads { zero: false },
            "pads-visible",
            "you see padding".into(),
            "bar padded keys with −inf before the softmax",
        ),
        turned(
            Sees::Pads { zero: true },
            "pads-visible",
            "padded keys have a score of 0, not −inf".into(),
            "bar padded keys with −inf: a score of 0 is e^0 = 1 in the softmax",
        ),
    ];
    if e.red.window.start > 0 {
        let says = format!(
            "{} tokens are cached, and your mask begins at its upper left corner: query i of the call sees key j ≤ i only",
            e.red.window.start
        );
        all.push(turned(Sees::FromZero, "mask-square", says, causal));
    }
    if let Some(n) = solve::window(e) {
        let says = format!("a token sees the last {n} only; the config has no window");
        all.push(turned(Sees::Last(n), "sliding-window", says, "Llama attends to all of the past"));
    }
    Ok(all)
}

pub(super) fn leaks(e: &Evidence<'_>, choice: &Attend) -> Result<Vec<Turned<Attend>>> {
    if e.red.site.kind != Kind::Probs && !fused(e) {
        return Ok(vec![]);
    }
    let fix = "bar with −inf before the softmax: a score of 0 is e^0 = 1 in its sum";
    let turned = [(Leaks::Pads, "padded keys"), (Leaks::All, "barred keys")].map(|(leaks, what)| {
        let says = format!("{what} have a score of 0, not −inf: each takes its share of the softmax");
        Turned::new(Attend { leaks, ..choice.clone() }, says, fix)
    });
    Ok(turned.into())
}
