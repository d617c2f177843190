//! Finds mistakes in the rotation: wrong pairs, angles or positions, and tables in half precision.

use candle_core::DType;

use super::Evidence;
use super::decide::Hypotheses;
use super::deviation::{Deviation, LowTables, Positions};
use super::rope_scaling;
use super::rope_solve::{self as solve, MeasuredAngle};
use super::search::{Candidate, Solver, search};
use crate::Result;
use crate::graph::{FrequencyLaw, Operation, Pairing, Rope};
use crate::oracle::{RowPlaces, frequencies};
use crate::probe::Layout;

const SOLVERS: [Solver; 6] = [
    Solver { mistake: "rope-pairing", fingerprint: |e| e.position_0_agrees(), solve: pairing, pairs: true },
    Solver { mistake: "rope-theta", fingerprint: |e| e.position_0_agrees(), solve: theta, pairs: true },
    Solver { mistake: "head-dim", fingerprint: |_| false, solve: head_dim, pairs: true },
    Solver { mistake: "rope-scaling", fingerprint: |_| false, solve: scaling, pairs: true },
    Solver { mistake: "decode-position", fingerprint: |_| false, solve: positions, pairs: true },
    Solver { mistake: "rope-half-tables", fingerprint: |_| false, solve: low_tables, pairs: true },
];

/// Finds the mistake in the rotation.
pub(super) fn diagnose(e: &Evidence<'_>) -> Result<Hypotheses> {
    if e.config().head_dim < 4 {
        return Ok(Hypotheses::default()); // one pair alone does not determine a frequency law
    }
    search(e, &SOLVERS)
}

/// How a port with given deviations rotates.
struct Turning {
    rope: Rope,
    /// `[turned/2]`.
    pairs: Vec<(usize, usize)>,
    /// The position by which each row is rotated, `[rows]`.
    positions: Vec<f64>,
    /// Radians per position, `[turned/2]`.
    frequencies: Vec<f64>,
}

impl Turning {
    fn of(e: &Evidence<'_>, made: &[Deviation]) -> Option<Self> {
        let node = made.iter().fold(e.node()?.clone(), |node, deviation| deviation.on(&e.graph, node));
        let Operation::Rope(rope) = node.operation else { return None };
        let mut positions: Vec<f64> = e.positions.iter().map(|&p| p as f64).collect();
        let mut pairs = rope.pairing.pairs(rope.turned);
        let at = RowPlaces { pass: e.context.pass, places: &e.places };
        for deviation in made {
            match deviation {
                Deviation::Pairs(others) => pairs.clone_from(others),
                Deviation::Positions(law) => {
                    positions = (0..e.places.len()).map(|r| law.of(&at, r)).collect();
                }
                _ => {}
            }
        }
        let frequencies = frequencies(&rope.law, rope.turned / 2);
        Some(Self { rope, pairs, positions, frequencies })
    }

    fn measured(&self, e: &Evidence<'_>) -> Option<Vec<Vec<MeasuredAngle>>> {
        Some(solve::angles(e, &e.input(0)?, &self.pairs))
    }
}

/// The pairs of a port that uses the other pairing for its own order of rows, given in the reference's order.
/// `None` for an arbitrary permutation, where the other pairing is no more likely than any.
pub(super) fn other_pairing(layout: &Layout, head_dim: usize) -> Option<Vec<(usize, usize)>> {
    match layout {
        Layout::Permuted(_) => None,
        Layout::Reference => Some(Pairing::Neighbours.pairs(head_dim)),
        Layout::Interleaved { .. } => {
            let own = |a: usize| a / 2 + a % 2 * (head_dim / 2);
            Some((0..head_dim / 2).map(|i| (own(i), own(i + head_dim / 2))).collect())
        }
    }
}

fn pairing(e: &Evidence<'_>, _: &[Deviation]) -> Result<Vec<Candidate>> {
    let Some(pairs) = other_pairing(&e.context.layout, e.config().head_dim) else { return Ok(vec![]) };
    let says = match &e.context.layout {
        Layout::Interleaved { .. } => {
            "you rotate halves, i with i + head_dim/2; these weights need neighbours, 2i with 2i + 1"
        }
        Layout::Reference | Layout::Permuted(_) => {
            "you rotate neighbouring elements, 2i with 2i + 1; these weights need halves, i with i + head_dim/2"
        }
    };
    Ok(vec![Candidate::new(Deviation::Pairs(pairs), says)])
}

/// The values of θ that ports use when they do not read the config: Llama's, Llama 3's, Mistral's.
const DEFAULTS: [f64; 3] = [1e4, 5e5, 1e6];

fn theta(e: &Evidence<'_>, made: &[Deviation]) -> Result<Vec<Candidate>> {
    let Some(turning) = Turning::of(e, made) else { return Ok(vec![]) };
    let law = &turning.rope.law;
    let own = law.theta();
    let divisor = match law {
        FrequencyLaw::Base { .. } => Some(1.0),
        FrequencyLaw::Linear { factor, .. } => Some(*factor),
        FrequencyLaw::Llama3 { .. } | FrequencyLaw::Divided { .. } => None,
    };
    let found = divisor.and_then(|divisor| {
        let positions: Vec<f64> = turning.positions.iter().map(|p| p / divisor).collect();
        solve::theta(&turning.measured(e)?, &positions)
    });
    let candidate = |theta, text: String| {
        let says = format!("you used θ = {text}; the config says {own} ({})", e.theta_key());
        Candidate::new(Deviation::Frequencies(law.with_theta(theta)), says)
    };
    let mut all: Vec<Candidate> = other_layers(e, law).into_iter().collect();
    all.extend(match found.filter(|theta| !theta.allows(own)) {
        Some(theta) => vec![candidate(theta.value, theta.to_string()).solved()],
        // In half precision the angles are too coarse to solve for θ, and which pairs are scaled may depend on
        // θ: only a few usual values are tried.
        None if e.context.dtype != DType::F32 || divisor.is_none() => {
            let others = DEFAULTS.into_iter().filter(|&theta| theta != own);
            others.map(|theta| candidate(theta, format!("{theta} or near it"))).collect()
        }
        None => vec![],
    });
    Ok(all)
}

/// The frequencies of layers of another type, if the model's layers rotate differently.
fn other_layers(e: &Evidence<'_>, own: &FrequencyLaw) -> Option<Candidate> {
    let (other, layer) = e.graph.iter().find_map(|(_, node)| match &node.operation {
        Operation::Rope(rope) if rope.law != *own => Some((rope.law.clone(), node.layer?)),
        _ => None,
    })?;
    let says = format!(
        "you rotate with the frequencies of layer {layer}, θ = {}; in this layer, the config says θ = {} ({})",
        other.theta(),
        own.theta(),
        e.theta_key()
    );
    Some(Candidate::new(Deviation::Frequencies(other), says))
}

/// Frequencies computed with hidden_size / heads as the head's width.
fn head_dim(e: &Evidence<'_>, made: &[Deviation]) -> Result<Vec<Candidate>> {
    let (config, Some(turning)) = (e.config(), Turning::of(e, made)) else { return Ok(vec![]) };
    let (d, own) = (config.head_dim, config.hidden_size / config.num_attention_heads);
    if own == d {
        return Ok(vec![]);
    }
    // θ^(−2i/own) = (θ^(d/own))^(−2i/d).
    let theta = turning.rope.law.theta().powf(d as f64 / own as f64);
    let says = format!(
        "you divide 2i by {own}, hidden_size / heads; divide by head_dim, {d} ({})",
        e.key("head_dim")
    );
    Ok(vec![Candidate::new(Deviation::Frequencies(turning.rope.law.with_theta(theta)), says)])
}

fn scaling(e: &Evidence<'_>, made: &[Deviation]) -> Result<Vec<Candidate>> {
    let Some(turning) = Turning::of(e, made) else { return Ok(vec![]) };
    let FrequencyLaw::Base { theta } = &turning.rope.law else {
        let mut all = rope_scaling::candidates(e, &turning.rope.law, &turning.frequencies);
        if at_one_position(e) {
            all.retain(|candidate| !turns_evenly(&candidate.deviation, &turning.frequencies));
        }
        return Ok(all);
    };
    let Some(angles) = turning.measured(e) else { return Ok(vec![]) };
    let scaled = solve::scaled(&angles, &turning.positions, &turning.frequencies, *theta);
    let candidate = |(law, says)| Candidate::new(Deviation::Frequencies(law), says).solved();
    Ok(scaled.into_iter().map(candidate).collect())
}

/// Whether this is a call after others, with tokens at one position. A wrong position turns all pairs there by one
/// factor, as another linear scaling does. The earlier calls were right, so their frequencies were.
fn at_one_position(e: &Evidence<'_>) -> bool {
    !e.context.whole && e.positions.windows(2).all(|pair| pair[0] == pair[1])
}

/// Whether all pairs turn by one factor faster or slower than with the right frequencies.
fn turns_evenly(deviation: &Deviation, right: &[f64]) -> bool {
    let Deviation::Frequencies(law) = deviation else { return false };
    let ratios: Vec<f64> =
        frequencies(law, right.len()).iter().zip(right).map(|(own, right)| own / right).collect();
    ratios.iter().all(|ratio| (ratio / ratios[0] - 1.0).abs() < 1e-9)
}

/// Solves for the position of every row. One free position per row can fit anything, so only a law that all
/// rows follow is named.
fn positions(e: &Evidence<'_>, made: &[Deviation]) -> Result<Vec<Candidate>> {
    let Some(turning) = Turning::of(e, made) else { return Ok(vec![]) };
    let length = e.context.pass.length().max(e.context.window.end);
    let limit = e.config().max_position_embeddings.max(2 * length);
    let found = turning.measured(e).and_then(|angles| solve::positions(&angles, &turning.frequencies, limit));
    let Some(found) = found else { return Ok(vec![]) };
    let own = &e.positions;
    let Some(first) = (0..found.len()).find(|&r| found[r] != own[r]) else { return Ok(vec![]) };
    let slots = e.places.iter().map(|&(_, slot)| slot);
    let shift = found[first].wrapping_sub(own[first]);
    let shifted = (0..found.len()).all(|r| found[r].wrapping_sub(own[r]) == shift);
    let at = format!("you rotate position {} as {}", own[first], found[first]);
    let candidate = |law, says| Candidate::new(Deviation::Positions(law), says).one_of(limit);
    if slots.eq(found.iter().copied()) {
        let says = format!("you count the padding on the left as positions: {at}");
        return Ok(vec![candidate(Positions::Slots, says).named("pad-positions")]);
    }
    if !shifted {
        return Ok(vec![]);
    }
    let law = Positions::Shifted(shift as i64);
    if !e.context.whole && e.context.first_layer_agrees {
        let says = format!("layer 0 is right, but in layer {} {at}", e.context.site.layer.unwrap_or(0));
        return Ok(vec![candidate(law, says).named("shared-counter")]);
    }
    let jumps = if found[first] > own[first] {
        format!("every position is {} too high: {at}", found[first] - own[first])
    } else {
        at.clone()
    };
    let mut all = Vec::new();
    // Of two candidates that explain the same, the more specific comes first.
    if !e.context.whole && shift == e.context.window.start {
        let says = format!("you count the tokens that you feed again twice: {at}");
        all.push(candidate(law, says).named("uncached-position"));
    }
    all.push(candidate(law, jumps));
    Ok(all)
}

fn low_tables(_: &Evidence<'_>, _: &[Deviation]) -> Result<Vec<Candidate>> {
    let exact =
        |dtype| LowTables { dtype, positions: false, frequencies: false, angles: false, cosines: false };
    let mut all = Vec::new();
    for dtype in [DType::BF16, DType::F16] {
        let exact = exact(dtype);
        let made = LowTables { frequencies: true, positions: true, angles: true, ..exact };
        for (tables, how) in [
            (LowTables { cosines: true, ..exact }, "round cos and sin to"),
            (LowTables { angles: true, cosines: true, ..exact }, "round angles, cos and sin to"),
            (LowTables { angles: true, ..exact }, "round angles to"),
            (LowTables { frequencies: true, ..exact }, "round θ^(−2i/head_dim) to"),
            (
                LowTables { frequencies: true, cosines: true, ..exact },
                "round θ^(−2i/head_dim), cos and sin to",
            ),
            (made, "compute angles in"),
            (LowTables { cosines: true, ..made }, "compute angles, cos and sin in"),
            (LowTables { positions: true, ..exact }, "round positions to"),
        ] {
            let says = format!("you {how} {}", dtype.as_str());
            all.push(Candidate::new(Deviation::LowTables(tables), says).rounding(dtype));
        }
    }
    Ok(all)
}
