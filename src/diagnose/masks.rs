//! Finds wrong masks: keys that a query should or should not see, and masked keys that count in the softmax.

use super::attention_solve as solve;
use super::deviation::{Deviation, Leaks, MaskValue, Sees};
use super::run::run;
use super::search::Candidate;
use std::collections::BTreeSet;

use super::{Evidence, key_in};
use crate::Result;
use crate::compare::vanishes;
use crate::graph::Mask;
use crate::probe::Kind;

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
    all.extend(windows(e));
    Ok(all)
}

/// Other windows than that of the config: one key more or less, none, and the one that the scores show.
fn windows(e: &Evidence<'_>) -> Vec<Candidate> {
    let right = e.scores().and_then(|scores| match scores.mask {
        Mask::Causal => None,
        Mask::Window { window } => Some(window),
    });
    let of_config = e.config().sliding_window;
    let near = right.map(|window| [window + 1, window - 1, usize::MAX]);
    // Layers without a window may be given that of the others.
    let others = of_config.filter(|_| right.is_none());
    let all: BTreeSet<usize> = near.into_iter().flatten().chain(others).chain(solve::window(e)).collect();
    let says = |seen: usize| match right {
        None if of_config.is_some() => {
            let key = key_in(e.context.weights, "layer_types");
            format!("you let a token see only the last {seen} tokens; this layer has no window ({key})")
        }
        None => format!("you let a token see only the last {seen} tokens; the config has no window"),
        Some(window) => {
            let key = key_in(e.context.weights, "sliding_window");
            let seen = match seen {
                usize::MAX => "all earlier tokens".to_owned(),
                seen => format!("the last {seen} tokens, itself included"),
            };
            format!("you let a token see {seen}; the window is {window} ({key})")
        }
    };
    let named = |n| Candidate::new(Deviation::Sees(Sees::Last(n)), says(n)).named("sliding-window");
    all.into_iter().filter(|&n| n > 0 && Some(n) != right).map(named).collect()
}

/// The number that all masked scores have, or that was added to them; none if it is low enough to give them no
/// weight.
pub(super) fn value(e: &Evidence<'_>, _: &[Deviation]) -> Result<Vec<Candidate>> {
    if e.context.site.kind != Kind::Scores {
        return Ok(vec![]);
    }
    let hidden: Vec<usize> = (0..e.got.values.len())
        .filter(|&n| e.want.values[n] == f64::NEG_INFINITY && e.got.values[n].is_finite())
        .collect();
    let Some(&first) = hidden.first() else { return Ok(vec![]) };
    let weight = weight(e, &hidden);
    if weight == 0.0 {
        return Ok(vec![]);
    }
    let found = |value: MaskValue, how: String| {
        let says = format!("you {how}; a masked key keeps a weight of up to {weight:.1e} in the softmax");
        Candidate::new(Deviation::MaskValue(value), says)
    };
    let value = e.got.values[first];
    if hidden.iter().all(|&n| e.got.values[n] == value) {
        return Ok(vec![found(MaskValue::Is(value), format!("set masked scores to {value}"))]);
    }
    let Some(all) = run(e, &[Deviation::Sees(Sees::All { pads: true })])? else { return Ok(vec![]) };
    let mut added: Vec<f64> = hidden.iter().map(|&n| e.got.values[n] - all.rows.values[n]).collect();
    added.sort_by(f64::total_cmp);
    let value = added[added.len() / 2];
    if value > -1.0 {
        return Ok(vec![]); // such scores are not masked at all
    }
    let how = format!("add {value:.6} to masked scores");
    Ok(vec![found(MaskValue::Adds(value), how).solved()])
}

/// The largest weight of these scores relative to that of the largest score of their row and head.
fn weight(e: &Evidence<'_>, hidden: &[usize]) -> f64 {
    let keys = e.context.pass.length();
    let gap = |&n: &usize| {
        let run = &e.got.values[n / keys * keys..][..keys];
        e.got.values[n] - run.iter().copied().fold(f64::MIN, f64::max)
    };
    let gaps = hidden.iter().map(gap).filter(|gap| !vanishes(*gap, e.context.dtype));
    gaps.map(f64::exp).fold(0.0, f64::max)
}

pub(super) fn leaks(e: &Evidence<'_>, _: &[Deviation]) -> Result<Vec<Candidate>> {
    if !e.computes_softmax() {
        return Ok(vec![]);
    }
    let layer = e.context.site.layer.map_or(0, usize::from);
    let window =
        e.config().window(layer).map(|window| (Leaks::PadsWithin(window), "padded keys in the window"));
    let all = [Some((Leaks::Pads, "padded keys")), window, Some((Leaks::All, "masked keys"))];
    let candidate = |(leaks, what)| {
        let says =
            format!("you give {what} a score of 0; it should be −inf, or each takes a share of the softmax");
        Candidate::new(Deviation::Leaks(leaks), says)
    };
    Ok(all.into_iter().flatten().map(candidate).collect())
}
