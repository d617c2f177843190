//! Other functions of the scores than the softmax over the keys.

use candle_core::DType;

use super::proposal::{Proposal, is_own};
use crate::diagnose::Evidence;
use crate::diagnose::deviation::{Deviation, SoftmaxForm};
use crate::diagnose::fit::Estimate;
use crate::graph::Node;

pub(super) fn proposals(e: &Evidence<'_>, node: &Node) -> Vec<Proposal> {
    let proposal = |form: SoftmaxForm| {
        let name = match form {
            SoftmaxForm::Temperature(_) => "softmax-temperature",
            _ => "softmax-form",
        };
        Proposal::new(name, node, Deviation::SoftmaxForm(form), format!("you {}", form.says()))
    };
    let listed = [1.0 / 2f64.ln(), 1.0 / 10f64.ln(), 2.0, 0.5];
    let mut all: Vec<Proposal> = listed.map(SoftmaxForm::Temperature).map(proposal).into();
    let own = is_own(e, node);
    let solved = if own { temperature(e) } else { None };
    if let Some(solved) = solved.filter(|t| !t.allows(1.0) && listed.iter().all(|l| !t.allows(*l))) {
        let says =
            format!("you divide the scores by {solved} in the softmax; the softmax has no temperature");
        let form = SoftmaxForm::Temperature(solved.value);
        all.push(Proposal::new("softmax-temperature", node, Deviation::SoftmaxForm(form), says).solved());
    }
    let forms = [
        SoftmaxForm::OverQueries,
        SoftmaxForm::OverHeads,
        SoftmaxForm::PlusOne { shifted: false },
        SoftmaxForm::PlusOne { shifted: true },
        SoftmaxForm::Sigmoid,
        SoftmaxForm::Uniform,
        SoftmaxForm::Undivided { count: false },
        SoftmaxForm::Undivided { count: true },
        SoftmaxForm::Twice,
        SoftmaxForm::Relu,
        SoftmaxForm::Log,
    ];
    all.extend(forms.map(proposal));
    all.extend((1..=64).map(|n| proposal(SoftmaxForm::Top(n))));
    all.extend([2, 4, 8, 16, 32, 64, 128].map(|n| proposal(SoftmaxForm::Blocks(n))));
    for dtype in [DType::BF16, DType::F16] {
        let low = [
            SoftmaxForm::Exponentials(dtype),
            SoftmaxForm::Sum(dtype),
            SoftmaxForm::Every(dtype),
            SoftmaxForm::WithoutMax(dtype),
        ];
        all.extend(low.map(|form| proposal(form).rounding(Some(dtype))));
    }
    all
}

/// The temperature that the port's probabilities follow: ln(p / p′) of two keys is their scores' difference over
/// it. Read from the two largest probabilities of each head.
fn temperature(e: &Evidence<'_>) -> Option<Estimate> {
    let (scores, t) = (e.input(0)?, e.context.pass.length());
    let samples = (0..e.got.len()).flat_map(|r| {
        let budget = e.budget(r, e.got.row(r)).max;
        let runs = e.got.row(r).chunks_exact(t).zip(scores.row(r).chunks_exact(t));
        runs.filter_map(move |(probs, scores)| {
            let mut order: Vec<usize> = (0..t).filter(|&j| scores[j].is_finite()).collect();
            order.sort_by(|&a, &b| probs[b].total_cmp(&probs[a]));
            let (&a, &b) = (order.first()?, order.get(1)?);
            let apart = (probs[a] / probs[b]).ln();
            let off = budget / probs[a] + budget / probs[b];
            let by = (scores[a] - scores[b]) / apart;
            (apart.is_finite() && apart > 4.0 * off && by > 0.0).then(|| (by, by * off / apart))
        })
    });
    Estimate::of(samples.collect::<Vec<_>>().into_iter())
}
