//! RMSNorm: ε, the weight's 1, and low precision.

use candle_core::DType;

use super::fit::{Estimate, Expected};
use super::search::{Turned, Twist, search};
use super::{Diagnosis, Evidence};
use crate::Result;
use crate::oracle::{Rows, mean_square, rms_norm, vector};
use crate::probe::Kind;

/// Everything that a port can choose.
#[derive(Clone)]
struct Norm {
    weight: Vec<f64>,
    eps: Eps,
    low: Option<Low>,
}

/// Where ε stands.
#[derive(Clone, Copy)]
enum Eps {
    /// √(mean + ε).
    Inside(f64),
    /// √mean + ε.
    Outside(f64),
}

/// Arithmetic in a half dtype.
#[derive(Clone, Copy)]
struct Low {
    dtype: DType,
    /// Squares are summed in it, one after the other.
    sums: bool,
    /// The quotient is a product with the rounded inverse.
    inverse: bool,
}

const TWISTS: [Twist<Norm>; 4] = [
    Twist { mistake: "norm-plus-one", fingerprint: |_| false, turn: plus_one, pairs: true },
    Twist { mistake: "absent-tensors", fingerprint: |_| false, turn: without_weight, pairs: true },
    Twist { mistake: "norm-eps", fingerprint: by_one_factor, turn: eps, pairs: true },
    Twist { mistake: "norm-low-precision", fingerprint: |e| !by_one_factor(e), turn: low, pairs: false },
];

/// Which mistake of a norm is it?
pub(super) fn diagnose(e: &Evidence<'_>) -> Result<Diagnosis> {
    let name = match (e.red.site.kind, e.red.site.layer) {
        (Kind::FinalNorm, _) => "model.norm.weight".to_owned(),
        (kind, layer) => format!("model.layers.{}.{}.weight", layer.unwrap_or(0), kind.name()),
    };
    let honest =
        Norm { weight: vector(e.red.weights, &name)?, eps: Eps::Inside(e.config().rms_norm_eps), low: None };
    search(e, &honest, run, &TWISTS)
}

fn run(e: &Evidence<'_>, norm: &Norm) -> Result<Option<Expected>> {
    let Some(x) = input(e) else { return Ok(None) };
    let rows = match (norm.low, norm.eps) {
        (None, Eps::Inside(eps)) => rms_norm(&x, &norm.weight, eps),
        (None, Eps::Outside(eps)) => Rows::from_fn(x.len(), x.width, |r, j| {
            x.row(r)[j] / (mean_square(x.row(r)).sqrt() + eps) * norm.weight[j]
        }),
        (Some(low), Eps::Inside(eps) | Eps::Outside(eps)) => low.norm(&x, &norm.weight, eps),
    };
    Ok(Some(rows.into()))
}

fn input(e: &Evidence<'_>) -> Option<Rows> {
    e.inputs()?.pop()
}

impl Low {
    /// As [`rms_norm`], every step rounded.
    fn norm(self, x: &Rows, weight: &[f64], eps: f64) -> Rows {
        let round = |v: f64| super::round(v, self.dtype);
        let divisors: Vec<f64> = x.iter().map(|row| self.divisor(row, eps)).collect(); // [rows]
        Rows::from_fn(x.len(), x.width, |r, j| {
            let (x, divisor) = (round(x.row(r)[j]), divisors[r]);
            let normed = if self.inverse { round(x * round(1.0 / divisor)) } else { round(x / divisor) };
            round(normed * round(weight[j]))
        })
    }

    fn divisor(self, row: &[f64], eps: f64) -> f64 {
        let round = |v: f64| super::round(v, self.dtype);
        let squares = row.iter().map(|&v| round(round(v) * round(v)));
        let n = row.len() as f64;
        let mean = if self.sums {
            round(squares.fold(0.0, |sum, square| round(sum + square)) / n)
        } else {
            round(row.iter().map(|&v| round(v) * round(v)).sum::<f64>() / n)
        };
        round(round(mean + round(eps)).sqrt())
    }
}

/// Is every row the right one times one number?
fn by_one_factor(e: &Evidence<'_>) -> bool {
    (0..e.got.len()).all(|r| {
        let (got, want) = (e.got.row(r), e.want.row(r));
        let factor = project(got, want);
        let budget = e.budget(r, want).max;
        got.iter().zip(want).all(|(got, want)| (got - factor * want).abs() <= budget)
    })
}

/// The number by which `base` comes nearest to `row`.
fn project(row: &[f64], base: &[f64]) -> f64 {
    let (mut product, mut square) = (0.0, 0.0);
    for (a, b) in row.iter().zip(base) {
        product += a * b;
        square += b * b;
    }
    product / square
}

fn plus_one(_: &Evidence<'_>, norm: &Norm) -> Result<Vec<Turned<Norm>>> {
    let with = |one: f64| Norm { weight: norm.weight.iter().map(|w| w + one).collect(), ..norm.clone() };
    Ok(vec![
        Turned::new(
            with(1.0),
            "you multiply by 1 + w; these weights hold the 1 already",
            "multiply by w: 1 + w belongs to families whose files store w − 1",
        ),
        Turned::new(
            with(-1.0),
            "you multiply by w − 1; these weights are to be used as they are",
            "do not take the 1 off when reading: GGUF and Llama store w itself",
        ),
    ])
}

fn without_weight(_: &Evidence<'_>, norm: &Norm) -> Result<Vec<Turned<Norm>>> {
    let all = |value: f64| Norm { weight: vec![value; norm.weight.len()], ..norm.clone() };
    Ok([(1.0, "ones"), (0.0, "zeros")]
        .map(|(value, said)| {
            Turned::new(
                all(value),
                format!("your norm's weight is all {said}: it was never loaded"),
                "demand every tensor by name and stop when one is missing",
            )
        })
        .into())
}

/// ε solved for from the length of every row: |got| = |x·w| / √(mean + ε).
fn eps(e: &Evidence<'_>, norm: &Norm) -> Result<Vec<Turned<Norm>>> {
    let Some(x) = input(e) else { return Ok(vec![]) };
    let config = e.config().rms_norm_eps;
    let rows = || {
        (0..x.len()).map(|r| {
            let base: Vec<f64> = x.row(r).iter().zip(&norm.weight).map(|(x, w)| x * w).collect();
            let divisor = 1.0 / project(e.got.row(r), &base);
            let budget = e.budget(r, e.got.row(r));
            // The part of a row's error that lies along the row.
            let length = base.iter().map(|v| v * v).sum::<f64>().sqrt() / divisor;
            (mean_square(x.row(r)), divisor, budget.rms * (x.width as f64).sqrt() / length)
        })
    };
    let inside = Estimate::of(rows().map(|(mean, d, off)| (d * d - mean, 2.0 * d * d * off)));
    let outside = Estimate::of(rows().map(|(mean, d, off)| (d - mean.sqrt(), d * off)));
    let mut turned = Vec::new();
    if let Some(eps) = inside.filter(|eps| !eps.allows(config)) {
        turned.push(Turned::new(
            Norm { eps: Eps::Inside(eps.value), ..norm.clone() },
            format!("you used ε = {eps}; the config says {:e} ({})", config as f32, e.key("rms_norm_eps")),
            "take ε from the config, and add it to the mean of squares",
        ));
    }
    if let Some(eps) = outside.filter(|eps| eps.value > 0.0) {
        turned.push(Turned::new(
            Norm { eps: Eps::Outside(eps.value), ..norm.clone() },
            format!("you add ε = {eps} to the root; Llama adds it to the mean of squares, inside"),
            "x / √(mean(x²) + ε)",
        ));
    }
    Ok(turned)
}

/// Every way of doing it in half precision.
fn low(_: &Evidence<'_>, norm: &Norm) -> Result<Vec<Turned<Norm>>> {
    let mut turned = Vec::new();
    for dtype in [DType::BF16, DType::F16] {
        for (sums, inverse) in [(false, false), (false, true), (true, false), (true, true)] {
            let knobs = Norm { low: Some(Low { dtype, sums, inverse }), ..norm.clone() };
            let how = if sums { "sum squares and divide" } else { "square and divide" };
            let says = format!("you {how} in {}: the norm loses its digits there", dtype.as_str());
            let fix = "compute the norm in f32 and round once at its end";
            turned.push(Turned::new(knobs, says, fix).rounding(dtype));
        }
    }
    Ok(turned)
}
