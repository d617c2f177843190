//! Other scores: which keys are visible, what is added, a softcap.

use super::proposal::{Proposal, is_own};
use crate::Result;
use crate::diagnose::Evidence;
use crate::diagnose::deviation::{Change, Deviation, MaskValue, ScoreTerm, Sees};
use crate::diagnose::fit::{Estimate, Expected};
use crate::graph::{Mask, Node, Role, Scores};

pub(super) fn proposals(
    e: &Evidence<'_>,
    node: &Node,
    scores: &Scores,
    right: &Expected,
) -> Result<Vec<Proposal>> {
    let mut all = masks(e, node, scores.mask);
    let proposal = |name: &'static str, deviation: Deviation, says: String| {
        Proposal::new(name, node, deviation, format!("you {says}"))
    };
    let term = |term: ScoreTerm, says: String| proposal("score-term", Deviation::ScorePlus(term), says);
    all.push(term(ScoreTerm::Alibi { negated: false }, "add ALiBi's biases to the scores".into()));
    all.push(term(ScoreTerm::Alibi { negated: true }, "add ALiBi's biases with the wrong sign".into()));
    let d = scores.head_dim;
    if let Some(cap) = scores.softcap {
        let says = format!("apply no softcap to the scores; theirs is {cap}");
        let uncapped = Deviation::ScoreSoftcap { cap: None, after_mask: false };
        all.push(proposal("score-softcap", uncapped, says));
    }
    let others = [50.0, 30.0, 20.0, 10.0, 100.0].into_iter().chain(e.config().final_logit_softcapping);
    for cap in others.filter(|cap| Some(*cap) != scores.softcap) {
        for (after_mask, when) in [(false, ""), (true, ", after the mask, so masked keys are visible")] {
            let says = format!("apply a softcap of {cap} to the scores{when}");
            let capped = Deviation::ScoreSoftcap { cap: Some(cap), after_mask };
            all.push(proposal("score-softcap", capped, says));
        }
    }
    if is_own(e, node) && e.cut.len() == 1 {
        all.extend(solved_terms(e, right).into_iter().map(|(solved, says)| term(solved, says).solved()));
    }
    let input = |n: usize, change: &Change| Deviation::Input { n, change: change.clone() };
    let half: Vec<f64> = (0..node_width(e, node, 0)).map(|j| f64::from(u8::from(j % d < d / 2))).collect();
    all.push(proposal(
        "score-inputs",
        input(0, &Change::Weighted(half.into())),
        "multiply only the first half of each head of queries and keys".into(),
    ));
    for (unit, how) in [
        (true, "normalise queries and keys to unit length"),
        (false, "apply RMSNorm to queries and keys after the rotation"),
    ] {
        for eps in [0.0, e.config().rms_norm_eps] {
            let normed = Change::Normed { run: d, eps, unit };
            let both = vec![input(0, &normed), input(1, &normed)];
            all.push(Proposal::of("score-inputs", node, both, format!("you {how}")));
        }
    }
    let before_rope = [Role::QProj, Role::KProj].map(|role| e.graph.find(node.layer, role));
    if let [Some(q), Some(k)] = before_rope {
        let both = vec![Deviation::Reads { n: 0, node: q }, Deviation::Reads { n: 1, node: k }];
        let says = "you multiply q_proj by k_proj, as they are before the rotation";
        all.push(Proposal::of("wrong-input", node, both, says));
    }
    let transposed = Deviation::Output(Change::Transposed { slots: e.context.pass.length() });
    all.push(proposal(
        "score-inputs",
        transposed,
        "exchange queries and keys: the scores are transposed".into(),
    ));
    for value in [-10.0, -100.0, -5.0, -1.0, 0.0] {
        let says = format!("mask with {value} where −∞ belongs");
        all.push(proposal("visible-keys", Deviation::MaskValue(MaskValue::Is(value)), says));
    }
    Ok(all)
}

fn node_width(e: &Evidence<'_>, node: &Node, n: usize) -> usize {
    let input = node.inputs.get(n).and_then(|input| e.graph.node(input.node));
    input.map_or(0, |input| input.shape.width(1))
}

/// Rules for the visible keys, as far as they differ in a sequence of this length.
fn masks(e: &Evidence<'_>, node: &Node, mask: Mask) -> Vec<Proposal> {
    let config = match mask {
        Mask::Causal if e.config().sliding_window.is_some() => "this layer has no window".to_owned(),
        Mask::Causal => "the config has no window".to_owned(),
        Mask::Window { window } => format!("the config's window is {window}"),
    };
    let length = e.context.pass.length();
    let most = length.min(4096);
    let rule = |sees: Sees, says: String| {
        Proposal::new("visible-keys", node, Deviation::Sees(sees), format!("you {says}"))
    };
    let mut all = vec![
        rule(Sees::BeforeOrFirst, "hide each token from itself; a query sees its own key".into()),
        rule(Sees::NotFirst, "hide the first key from all later queries".into()),
        rule(Sees::NotAt(1), "hide the key just before each query".into()),
    ];
    for n in 1..most {
        let keys = if n == 1 { "key" } else { "keys" };
        let of = |sees: Sees, says: String| rule(sees, says).one_of(most);
        all.push(of(Sees::Ahead(n), format!("let a token see {n} {keys} ahead of it")));
        all.push(of(
            Sees::Within(n),
            format!("let a token see tokens fewer than {n} positions away on both sides"),
        ));
        let mut last = of(Sees::Last(n), format!("let a token see only the last {n} tokens; {config}"));
        last.tried.mistake = "sliding-window";
        all.push(last);
        all.push(of(
            Sees::FirstFew(n),
            format!("let a token see only the first {n} {keys}: the cache is too short"),
        ));
        all.push(of(
            Sees::Prefix(n),
            format!("let every token see the first {n} {keys}, even those ahead of it"),
        ));
        if n > 1 {
            all.push(of(Sees::Chunk(n), format!("let a token see only its own chunk of {n} tokens")));
            all.push(of(
                Sees::Stride(n),
                format!("let a token see only keys at distances that are multiples of {n}"),
            ));
            all.push(of(Sees::NotAt(n), format!("hide the key {n} positions before each query")));
        }
    }
    for sinks in 1..most.min(9) {
        all.extend((1..most.min(513)).map(|last| {
            let says = format!("let a token see only the first {sinks} tokens and the last {last}");
            rule(Sees::Sinks { sinks, last }, says).one_of(most * 8)
        }));
    }
    all
}

/// What is added to the scores, solved from the difference to the right ones.
fn solved_terms(e: &Evidence<'_>, right: &Expected) -> Vec<(ScoreTerm, String)> {
    let t = e.context.pass.length();
    let of = |weight: &dyn Fn(f64, usize) -> f64| {
        Estimate::of((0..e.got.len()).flat_map(|r| {
            let off = e.budget(r, e.got.row(r)).max;
            let own = e.places[r].1 as f64;
            let entries = e.got.row(r).iter().zip(right.rows.row(r)).enumerate();
            entries
                .filter(|(_, (got, want))| got.is_finite() && want.is_finite())
                .filter_map(|(j, (got, want))| {
                    let by = weight(own - (j % t) as f64, j % t);
                    (by != 0.0).then(|| ((got - want) / by, off / by.abs()))
                })
                .collect::<Vec<_>>()
        }))
        .filter(|solved| !solved.allows(0.0))
    };
    let mut all = Vec::new();
    if let Some(by) = of(&|distance, _| distance) {
        let says = format!("add {by} per position between key and query to the scores");
        all.push((ScoreTerm::Distance(by.value), says));
    }
    if let Some(by) = of(&|_, _| 1.0) {
        all.push((ScoreTerm::Constant(by.value), format!("add {by} to every visible score")));
    }
    if let Some(by) = of(&|_, key| f64::from(u8::from(key == 0))) {
        all.push((ScoreTerm::FirstKey(by.value), format!("add {by} to the scores of the first key")));
    }
    all
}
