//! Measures the rotation angles in the port's rows, and solves for θ, scaling and positions from them.

use std::f64::consts::{PI, TAU};

use super::Evidence;
use super::fit::Estimate;
use crate::graph::FrequencyLaw;
use crate::oracle::Rows;

/// An angle in (−π, π], and its largest possible error.
#[derive(Clone, Copy, Debug)]
pub(super) struct MeasuredAngle {
    pub angle: f64,
    pub off: f64,
}

/// The angle by which each pair of each row was rotated, from all heads together: `[rows][head_dim/2]`.
///
/// It is the angle of Σ x̄·y over the heads, with pairs as complex numbers. An error of ε in every entry of y
/// changes it by at most √2·ε·Σ|x| / Σ|x|².
pub(super) fn angles(e: &Evidence<'_>, x: &Rows, pairs: &[(usize, usize)]) -> Vec<Vec<MeasuredAngle>> {
    let row = |r: usize| {
        let budget = e.budget(r, e.got.row(r)).max;
        let (x, y) = (x.row(r), e.got.row(r));
        pairs.iter().map(move |&(a, b)| {
            let (mut along, mut across, mut sum, mut square) = (0.0, 0.0, 0.0, 0.0);
            for head in (0..x.len()).step_by(2 * pairs.len()) {
                let (x1, x2, y1, y2) = (x[head + a], x[head + b], y[head + a], y[head + b]);
                along += x1 * y1 + x2 * y2;
                across += x1 * y2 - x2 * y1;
                sum += x1.hypot(x2);
                square += x1 * x1 + x2 * x2;
            }
            MeasuredAngle {
                angle: across.atan2(along),
                off: std::f64::consts::SQRT_2 * budget * sum / square,
            }
        })
    };
    (0..x.len()).map(|r| row(r).collect()).collect()
}

/// An angle difference, wrapped to (−π, π].
fn wrap(angle: f64) -> f64 {
    let wrapped = (angle + PI).rem_euclid(TAU) - PI;
    if wrapped == -PI { PI } else { wrapped }
}

/// Solves for θ from angles p·θ^(−2i/d). It starts from the sample that θ moves least, whose number of full
/// turns is certain, and refines with more and more sensitive samples, unwrapped by the current estimate.
pub(super) fn theta(angles: &[Vec<MeasuredAngle>], positions: &[f64]) -> Option<Estimate> {
    let half = angles.first()?.len();
    let mut samples: Vec<(f64, f64, MeasuredAngle)> = Vec::new(); // position, exponent, angle
    for (row, &p) in angles.iter().zip(positions).filter(|(_, p)| **p > 0.0) {
        samples.extend((1..half).map(|i| (p, i as f64 / half as f64, row[i])).filter(|s| s.2.off < 0.1));
    }
    // ln θ = ln(p / φ) / exponent, where the slow pair at the first position has not made a full turn.
    let first = samples.iter().filter(|s| s.2.angle > 4.0 * s.2.off).min_by(|a, b| {
        let turn = |s: &(f64, f64, MeasuredAngle)| s.0 / s.1;
        turn(a).total_cmp(&turn(b))
    })?;
    let (p, exponent, measured) = *first;
    let mut known = (p / measured.angle).ln() / exponent;
    let mut bound = measured.off / measured.angle / exponent;
    // The derivative of an angle with respect to ln θ.
    let speed = |p: f64, exponent: f64, known: f64| exponent * p * (-exponent * known).exp();
    samples.sort_by(|a, b| speed(a.0, a.1, known).total_cmp(&speed(b.0, b.1, known)));
    for (p, exponent, measured) in samples {
        let speed = speed(p, exponent, known);
        if speed * bound > PI / 4.0 || speed <= 0.0 {
            continue;
        }
        let residual = wrap(measured.angle - p * (-exponent * known).exp());
        let off = measured.off / speed;
        if residual.abs() / speed > 1.01 * (bound + off) + 1e-12 {
            return None; // no single θ gives all angles
        }
        // θ is in both intervals, so in their intersection.
        let (low, high) = (known - residual / speed - off, known - residual / speed + off);
        let (low, high) = (low.max(known - bound), high.min(known + bound));
        if low > high {
            return None;
        }
        (known, bound) = ((low + high) / 2.0, ((high - low) / 2.0).max(1e-13));
    }
    let value = known.exp();
    Some(Estimate { value, bound: value * bound.exp_m1() })
}

/// The position of each row, if for every row a position below `limit` gives the angles of all its pairs.
pub(super) fn positions(
    angles: &[Vec<MeasuredAngle>],
    frequencies: &[f64],
    limit: usize,
) -> Option<Vec<usize>> {
    let fits = |row: &[MeasuredAngle], p: usize| {
        let pairs = row.iter().zip(frequencies);
        pairs.filter(|(m, _)| m.off < 0.5).all(|(m, f)| wrap(m.angle - p as f64 * f).abs() <= m.off + 1e-9)
    };
    angles.iter().map(|row| (0..limit.min(1 << 17)).find(|&p| fits(row, p))).collect()
}

/// The two scalings that real configs have, with the factor measured at the slowest pair. Each comes with its
/// message.
pub(super) fn scaled(
    angles: &[Vec<MeasuredAngle>],
    positions: &[f64],
    frequencies: &[f64],
    theta: f64,
) -> Vec<(FrequencyLaw, String)> {
    let last = frequencies.len() - 1;
    // Rows in which the slowest pair has not made a full turn with any factor.
    let rows = angles.iter().zip(positions).filter(|(_, p)| **p > 0.0 && **p * frequencies[last] < 0.75);
    let samples = rows.map(|(row, &p)| {
        let turn = p * frequencies[last];
        (row[last].angle / turn, row[last].off / turn)
    });
    let Some(ratio) = Estimate::of(samples).filter(|r| r.value > 0.0 && r.bound < 0.2 * r.value) else {
        return vec![];
    };
    if ratio.allows(1.0) {
        return vec![];
    }
    let slowest = inverse(ratio);
    let all_pairs = refined(angles, positions, frequencies, ratio).map_or(slowest, inverse);
    let mut all = Vec::new();
    if let Some(factor) = configured(all_pairs, theta, frequencies.len()) {
        let divisor = if factor == factor.round() { factor.to_string() } else { all_pairs.to_string() };
        let says = format!("you divide every position by {divisor}; the config has no such scaling");
        all.push((FrequencyLaw::Linear { theta, factor }, says));
    }
    let Some(factor) = configured(slowest, theta, frequencies.len()) else { return all };
    all.extend((7..18).map(|power| {
        let original = 1usize << power;
        let law = FrequencyLaw::Llama3 { theta, factor, low_freq_factor: 1.0, high_freq_factor: 4.0, original };
        let says = format!(
            "you scale slow pairs by 1/{factor}, as Llama 3 does with an original context of {original}; the config \
             has no such scaling"
        );
        (law, says)
    }));
    all
}

/// The scaling factor that this may be, a whole number if the interval contains one. Configs only use factors
/// above 1. A port whose frequencies start one pair or half a pair late divides by θ^(2/head_dim) or its
/// root: a factor that may be one of these is not named.
fn configured(factor: Estimate, theta: f64, pairs: usize) -> Option<f64> {
    let late = [0.5, 1.0].map(|by| theta.powf(by / pairs as f64));
    if factor.value <= 1.0 || late.into_iter().any(|late| factor.allows(late)) {
        return None;
    }
    let whole = factor.value.round();
    Some(if factor.allows(whole) { whole } else { factor.value })
}

fn inverse(ratio: Estimate) -> Estimate {
    Estimate { value: 1.0 / ratio.value, bound: ratio.bound / (ratio.value * ratio.value) }
}

/// Refines `ratio`, by which all pairs turn too slowly, with faster and faster pairs, unwrapped by the
/// current estimate; `None` if no single ratio gives all angles.
fn refined(
    angles: &[Vec<MeasuredAngle>],
    positions: &[f64],
    frequencies: &[f64],
    ratio: Estimate,
) -> Option<Estimate> {
    let of_row = |(row, p): (&Vec<MeasuredAngle>, &f64)| {
        let p = *p;
        row.iter().zip(frequencies).map(move |(m, f)| (p * f, *m)).collect::<Vec<_>>()
    };
    let mut samples: Vec<(f64, MeasuredAngle)> = angles.iter().zip(positions).flat_map(of_row).collect();
    samples.retain(|(turn, measured)| *turn > 0.0 && measured.off < 0.1);
    samples.sort_by(|a, b| a.0.total_cmp(&b.0));
    let Estimate { value: mut known, mut bound } = ratio;
    for (turn, measured) in samples.into_iter() {
        if turn * bound > PI / 4.0 {
            continue;
        }
        let (step, off) = (wrap(measured.angle - known * turn) / turn, measured.off / turn);
        let (low, high) = ((known + step - off).max(known - bound), (known + step + off).min(known + bound));
        if low > high + 1e-12 {
            return None;
        }
        (known, bound) = ((low + high) / 2.0, ((high - low) / 2.0).max(1e-13));
    }
    Some(Estimate { value: known, bound })
}
