//! Deviations in how a rotation turns each pair.

use std::ops::Range;

use crate::graph::{Pairing, Rope};
use crate::oracle::{Rows, rotate};

/// A way to rotate that differs from the right one in something other than positions, pairs or θ.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::diagnose) enum Turn {
    /// The other direction.
    Backwards,
    /// Sine and cosine exchanged.
    Exchanged,
    /// Both products are added, without the minus sign.
    WithoutMinus,
    /// The rotation is applied twice.
    Twice,
    /// No rotation.
    Skipped,
    /// These heads are not rotated.
    HeadsSkipped(Range<usize>),
    /// Only the first so many elements of a head are rotated, with the frequencies of a head of that size, or
    /// with the first frequencies of the whole head.
    Partial { turned: usize, own_law: bool },
    /// Pairs are read as `from` and written as the other pairing.
    Moved { from: Pairing },
    /// Each angle is used for two neighbouring elements, but elements half a head apart are rotated.
    RepeatedAngles,
    /// The angles are those of halves, but neighbouring elements are rotated.
    HalvedAngles,
    /// Element i is paired with element head_dim − 1 − i.
    Mirrored,
    /// The frequencies in reverse order.
    FrequenciesReversed,
    /// The exponent of pair i is that of pair i + this number.
    ExponentPlus(f64),
    /// Frequencies that fall linearly from 1.
    LinearFrequencies,
    /// Rotation by the number of the head instead of the position.
    ByHead,
    /// Cosine and sine times this number.
    Magnitude(f64),
}

impl Turn {
    /// The rotated rows: `[rows, heads * head_dim]` → the same shape. `pairs`, `positions` and `frequencies`
    /// are those of the right rotation.
    pub fn rotate(
        &self,
        x: &Rows,
        rope: &Rope,
        pairs: &[(usize, usize)],
        positions: &[f64],
        frequencies: &[f64],
    ) -> Rows {
        let d = rope.head_dim;
        let right = |r: usize, i: usize| (positions[r] * frequencies[i]).sin_cos();
        let law = |of: &dyn Fn(usize) -> f64| rotate(x, d, pairs, |r, i| (positions[r] * of(i)).sin_cos());
        match self {
            Self::Backwards => rotate(x, d, pairs, |r, i| (-positions[r] * frequencies[i]).sin_cos()),
            Self::Exchanged => rotate(x, d, pairs, |r, i| {
                let (sin, cos) = right(r, i);
                (cos, sin)
            }),
            Self::WithoutMinus => {
                let mut rows = x.clone();
                self.each_pair(x, d, pairs, |r, i, a, b| {
                    let (sin, cos) = right(r, i);
                    rows.values[r * x.width + a] = x.row(r)[a] * cos + x.row(r)[b] * sin;
                    rows.values[r * x.width + b] = x.row(r)[b] * cos + x.row(r)[a] * sin;
                });
                rows
            }
            Self::Twice => law(&|i| 2.0 * frequencies[i]),
            Self::Skipped => x.clone(),
            Self::HeadsSkipped(heads) => {
                let rotated = rotate(x, d, pairs, right);
                Rows::from_fn(x.len(), x.width, |r, j| {
                    if heads.contains(&(j / d)) { x.row(r)[j] } else { rotated.row(r)[j] }
                })
            }
            Self::Partial { turned, own_law } => {
                let part = rope.pairing.pairs(*turned);
                // θ^(−2i/turned) = (θ^(−2i/d))^(d/turned).
                let power = if *own_law { d as f64 / *turned as f64 } else { 1.0 };
                rotate(x, d, &part, |r, i| (positions[r] * frequencies[i].powf(power)).sin_cos())
            }
            Self::Moved { from } => {
                let other = match from {
                    Pairing::Halves => Pairing::Neighbours,
                    Pairing::Neighbours => Pairing::Halves,
                };
                let (from, to) = (from.pairs(d), other.pairs(d));
                let turned = rotate(x, d, &from, right);
                let mut rows = x.clone();
                self.each_pair(x, d, &to, |r, i, a, b| {
                    let head = a / d * d;
                    rows.values[r * x.width + a] = turned.row(r)[head + from[i].0];
                    rows.values[r * x.width + b] = turned.row(r)[head + from[i].1];
                });
                rows
            }
            Self::RepeatedAngles => self.entry_angles(x, d, &Pairing::Halves.pairs(d), |r, j| {
                (positions[r] * frequencies[j / 2]).sin_cos()
            }),
            Self::HalvedAngles => self.entry_angles(x, d, &Pairing::Neighbours.pairs(d), |r, j| {
                (positions[r] * frequencies[j % (d / 2)]).sin_cos()
            }),
            Self::Mirrored => {
                let mirrored: Vec<(usize, usize)> = (0..d / 2).map(|i| (i, d - 1 - i)).collect();
                rotate(x, d, &mirrored, right)
            }
            Self::FrequenciesReversed => law(&|i| frequencies[frequencies.len() - 1 - i]),
            Self::ExponentPlus(more) => {
                let ratio = frequencies.get(1).copied().unwrap_or(1.0); // θ^(−2/d)
                law(&|i| frequencies[i] * ratio.powf(*more))
            }
            Self::LinearFrequencies => law(&|i| 1.0 - i as f64 / frequencies.len() as f64),
            Self::ByHead => {
                let mut rows = x.clone();
                self.each_pair(x, d, pairs, |r, i, a, b| {
                    let (sin, cos) = ((a / d) as f64 * frequencies[i]).sin_cos();
                    rows.values[r * x.width + a] = x.row(r)[a] * cos - x.row(r)[b] * sin;
                    rows.values[r * x.width + b] = x.row(r)[b] * cos + x.row(r)[a] * sin;
                });
                rows
            }
            Self::Magnitude(by) => rotate(x, d, pairs, |r, i| {
                let (sin, cos) = right(r, i);
                (sin * by, cos * by)
            }),
        }
    }

    /// Calls `see` with each row, pair, and its two columns.
    fn each_pair(
        &self,
        x: &Rows,
        d: usize,
        pairs: &[(usize, usize)],
        mut see: impl FnMut(usize, usize, usize, usize),
    ) {
        for r in 0..x.len() {
            for head in (0..x.width).step_by(d) {
                for (i, &(a, b)) in pairs.iter().enumerate() {
                    see(r, i, head + a, head + b);
                }
            }
        }
    }

    /// Rotates pairs whose two elements have their own angles.
    fn entry_angles(
        &self,
        x: &Rows,
        d: usize,
        pairs: &[(usize, usize)],
        sin_cos: impl Fn(usize, usize) -> (f64, f64),
    ) -> Rows {
        let mut rows = x.clone();
        self.each_pair(x, d, pairs, |r, _, a, b| {
            let ((sin_a, cos_a), (sin_b, cos_b)) = (sin_cos(r, a % d), sin_cos(r, b % d));
            rows.values[r * x.width + a] = x.row(r)[a] * cos_a - x.row(r)[b] * sin_a;
            rows.values[r * x.width + b] = x.row(r)[b] * cos_b + x.row(r)[a] * sin_b;
        });
        rows
    }

    /// What the port does, after "you".
    pub fn says(&self, kind: &str, head_dim: usize) -> String {
        match self {
            Self::Backwards => format!("rotate {kind} in the other direction: the sine has the wrong sign"),
            Self::Exchanged => format!("use the sine for the cosine, and the cosine for the sine, in {kind}"),
            Self::WithoutMinus => {
                format!("add both products of the rotation of {kind}; the first half needs x₁ cos − x₂ sin")
            }
            Self::Twice => {
                format!("rotate {kind} twice (the same as doubled positions or frequencies); rotate once")
            }
            Self::Skipped => format!("do not rotate {kind}: every row is as before the rotation"),
            Self::HeadsSkipped(heads) => {
                format!("do not rotate heads {} to {} of {kind}", heads.start, heads.end - 1)
            }
            Self::Partial { turned, own_law } => {
                let law = if *own_law { "a head of that size" } else { "the whole head" };
                format!(
                    "rotate only the first {turned} of {head_dim} elements of each head of {kind}, with the frequencies of \
                     {law}"
                )
            }
            Self::Moved { from: Pairing::Neighbours } => {
                format!("read pairs of {kind} as neighbours, 2i with 2i + 1, and write them as halves")
            }
            Self::Moved { from: Pairing::Halves } => {
                format!("read pairs of {kind} as halves, and write them as neighbours, 2i and 2i + 1")
            }
            Self::RepeatedAngles => format!(
                "use each angle for two neighbouring elements of {kind}, but rotate elements that are half a head apart"
            ),
            Self::HalvedAngles => {
                format!("use the angles of two halves for {kind}, but rotate neighbouring elements")
            }
            Self::Mirrored => format!("pair element i of {kind} with element head_dim − 1 − i"),
            Self::FrequenciesReversed => {
                format!("assign the frequencies to the pairs of {kind} in reverse order")
            }
            Self::ExponentPlus(more) if *more == 1.0 => {
                format!(
                    "use for each pair of {kind} the frequency of the pair after it: one pair late, θ^(−2(i + 1)/head_dim)"
                )
            }
            Self::ExponentPlus(more) if *more == -1.0 => {
                format!(
                    "use for each pair of {kind} the frequency of the pair before it: θ^(−2(i − 1)/head_dim)"
                )
            }
            Self::ExponentPlus(_) => {
                format!(
                    "use the exponent (2i + 1)/head_dim for {kind}: half a pair late, θ^(−(2i + 1)/head_dim)"
                )
            }
            Self::LinearFrequencies => {
                format!("use frequencies for {kind} that fall linearly from 1; they are θ^(−2i/head_dim)")
            }
            Self::ByHead => {
                format!(
                    "rotate {kind} by the number of the head; rotate by the position: two axes are exchanged"
                )
            }
            Self::Magnitude(by) => format!("multiply cosine and sine of {kind} by {by}"),
        }
    }
}
