//! Other rotations: direction, pairs, frequencies, positions, and what is rotated.

use super::Proposal;
use super::proposal::{called, called_input, is_own};
use crate::diagnose::Evidence;
use crate::diagnose::deviation::{Change, Deviation, Positions, Turn};
use crate::diagnose::fit::Estimate;
use crate::graph::{FrequencyLaw, Node, Norm, Operation, Pairing, Rope};
use crate::oracle::vector;

pub(super) fn proposals(e: &Evidence<'_>, node: &Node, rope: &Rope) -> Vec<Proposal> {
    let (what, d) = (called_input(e, node, 0), rope.head_dim);
    let kind = match what.as_str() {
        "q_proj" | "q_norm" => "queries",
        "k_proj" | "k_norm" => "keys",
        other => other,
    };
    let heads = node.shape.width(1) / d.max(1);
    let mut all = positions(e, node, kind);
    let turn = |name: &'static str, turn: Turn| {
        let says = format!("you {}", turn.says(kind, d));
        Proposal::new(name, node, Deviation::Turn(turn), says)
    };
    let simple = [
        ("rope-skipped", Turn::Skipped),
        ("rope-direction", Turn::Backwards),
        ("rope-twice", Turn::Twice),
        ("rope-tables", Turn::Exchanged),
        ("rope-direction", Turn::WithoutMinus),
        ("rope-pairs", Turn::Moved { from: Pairing::Neighbours }),
        ("rope-pairs", Turn::Moved { from: Pairing::Halves }),
        ("rope-tables", Turn::RepeatedAngles),
        ("rope-tables", Turn::HalvedAngles),
        ("rope-pairs", Turn::Mirrored),
        ("rope-frequencies", Turn::FrequenciesReversed),
        ("rope-frequencies", Turn::ExponentPlus(1.0)),
        ("rope-frequencies", Turn::ExponentPlus(-1.0)),
        ("rope-frequencies", Turn::ExponentPlus(0.5)),
        ("rope-frequencies", Turn::LinearFrequencies),
        ("rope-positions", Turn::ByHead),
    ];
    all.extend(simple.map(|(name, how)| turn(name, how)));
    for turned in [d / 2, d / 4, d * 3 / 4].into_iter().filter(|turned| *turned >= 2 && turned % 2 == 0) {
        all.extend([true, false].map(|own_law| turn("rope-partial", Turn::Partial { turned, own_law })));
    }
    let kv_heads = e.config().num_key_value_heads;
    let ranges = (1..heads).flat_map(|n| [n..heads, 0..n]).chain((1..heads).map(|n| n..n + 1));
    let mut ranges: Vec<_> = ranges.collect();
    ranges.sort_by_key(|range| (range.start != kv_heads || range.end != heads, range.len()));
    ranges.dedup();
    all.extend(ranges.into_iter().map(|heads| turn("rope-heads", Turn::HeadsSkipped(heads))));
    all.extend(llama3(node, rope, kind));
    all.extend(normed_after(e, node, kind));
    all.extend(magnitude(e, node, kind));
    all.extend(faster(node, rope, kind));
    all
}

/// The weight of the norm before the rotation, applied after it. The division of that norm is the same before and
/// after a rotation.
fn normed_after(e: &Evidence<'_>, node: &Node, kind: &str) -> Option<Proposal> {
    let norm = e.graph.node(node.inputs.first()?.node)?;
    let Operation::Norm(Norm { weight, rule, .. }) = &norm.operation else { return None };
    let gain = rule.gain(&vector(e.context.weights, weight).ok()?); // [head_dim]
    let heads = node.shape.width(1) / gain.len().max(1);
    let inverse: Vec<f64> = gain.iter().map(|g| 1.0 / g).collect();
    let made = vec![
        Deviation::Input { n: 0, change: Change::Weighted(inverse.repeat(heads).into()) },
        Deviation::Output(Change::Weighted(gain.repeat(heads).into())),
    ];
    let says = format!("you apply {} after the rotation of {kind}; apply it before", called(norm));
    gain.iter().all(|g| *g != 0.0).then(|| Proposal::of("norm-order", node, made, says))
}

/// Tabled laws of positions.
fn positions(e: &Evidence<'_>, node: &Node, kind: &str) -> Vec<Proposal> {
    let last = e.positions.iter().copied().max().unwrap_or(0);
    let law = |law: Positions, what: String| {
        let says = format!("you rotate {kind} by {what}; rotate each by its own position");
        Proposal::new("rope-positions", node, Deviation::Positions(law), says)
    };
    let mut all = vec![
        law(Positions::All(last), format!("the last position, {last}, in every row")),
        law(Positions::Reversed, "positions counted from the end".into()),
    ];
    for by in [-1i64, -2, -3, -4, 2, 3, 4, 5, 6, 8] {
        let side = if by < 0 { "low" } else { "high" };
        let says = format!("you rotate {kind} by positions that are {} too {side}", by.abs());
        let shifted = Deviation::Positions(Positions::Shifted(by));
        all.push(Proposal::new("decode-position", node, shifted, says));
    }
    let most = last.min(4096);
    all.extend(
        (1..most).map(|n| law(Positions::AtMost(n), format!("positions clipped to {n}")).one_of(most)),
    );
    all.extend((2..most).map(|n| law(Positions::Modulo(n), format!("positions modulo {n}")).one_of(most)));
    all
}

/// The factor of cosine and sine, from the lengths of the rows.
fn magnitude(e: &Evidence<'_>, node: &Node, kind: &str) -> Option<Proposal> {
    if !is_own(e, node) {
        return None;
    }
    let x = e.input(0)?;
    let by = Estimate::of((0..x.len()).map(|r| {
        let length = |row: &[f64]| row.iter().map(|v| v * v).sum::<f64>().sqrt();
        let own = length(x.row(r));
        let off = e.budget(r, e.got.row(r)).rms * (x.width as f64).sqrt() / own;
        (length(e.got.row(r)) / own, off)
    }))?;
    let turn = Turn::Magnitude(by.value);
    let says = format!("you multiply cosine and sine of {kind} by {by}; they need no factor");
    (!by.allows(1.0)).then(|| Proposal::new("rope-magnitude", node, Deviation::Turn(turn), says).solved())
}

/// Llama 3's scaling with the factors and contexts of known models.
fn llama3(node: &Node, rope: &Rope, kind: &str) -> Vec<Proposal> {
    let FrequencyLaw::Base { theta } = rope.law else { return vec![] };
    let law = |factor: f64, original: usize| {
        let says = format!(
            "you scale slow pairs of {kind} by 1/{factor}, as Llama 3 does with an original context of {original}; the \
             config has no such scaling"
        );
        let law =
            FrequencyLaw::Llama3 { theta, factor, low_freq_factor: 1.0, high_freq_factor: 4.0, original };
        Proposal::new("rope-scaling", node, Deviation::Frequencies(law), says)
    };
    let originals = (6..15).map(|power| 1usize << power);
    originals.flat_map(|original| [8.0, 32.0, 4.0, 2.0, 16.0].map(|factor| law(factor, original))).collect()
}

/// Frequencies that are too high by a whole factor. Those that are too low are a scaling of the catalogue.
fn faster(node: &Node, rope: &Rope, kind: &str) -> Vec<Proposal> {
    let FrequencyLaw::Base { theta } = rope.law else { return vec![] };
    let law = |by: f64| {
        let says = format!("you multiply every position, or frequency, of {kind} by {by}");
        let law = FrequencyLaw::Linear { theta, factor: 1.0 / by };
        Proposal::new("rope-frequencies", node, Deviation::Frequencies(law), says)
    };
    [2.0, 4.0, 8.0, 16.0, std::f64::consts::TAU, std::f64::consts::PI].map(law).into()
}
