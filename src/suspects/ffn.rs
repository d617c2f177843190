//! silu(gate) · up: exchanged halves, and half precision.

use candle_core::DType;

use super::fit::Expected;
use super::search::{Turned, Twist, search};
use super::{Diagnosis, Evidence, round};
use crate::Result;
use crate::oracle::{Rows, gated, silu};

/// Everything that a port can choose.
#[derive(Clone)]
struct Gated {
    swapped: bool,
    low: Option<Low>,
}

/// What is rounded to a half dtype.
#[derive(Clone, Copy)]
struct Low {
    dtype: DType,
    /// Every step of it, or its result alone.
    steps: bool,
    /// x · σ(x), σ rounded, and not x / (1 + e^−x).
    sigmoid: bool,
    /// The gate before.
    gate: bool,
    /// The product, and up before it.
    product: bool,
}

const TWISTS: [Twist<Gated>; 2] = [
    Twist { mistake: "gate-up-swapped", fingerprint: |_| true, turn: swapped, pairs: true },
    Twist { mistake: "act-half", fingerprint: |_| false, turn: low, pairs: true },
];

/// Which mistake of the gate is it?
pub(super) fn diagnose(e: &Evidence<'_>) -> Result<Diagnosis> {
    search(e, &Gated { swapped: false, low: None }, run, &TWISTS)
}

fn run(e: &Evidence<'_>, choice: &Gated) -> Result<Option<Expected>> {
    let Some([gate, up]) = e.inputs().and_then(|inputs| <[Rows; 2]>::try_from(inputs).ok()) else {
        return Ok(None);
    };
    let (gate, up) = if choice.swapped { (up, gate) } else { (gate, up) };
    let Some(low) = choice.low else { return Ok(Some(gated(&gate, &up, silu).into())) };
    let rows = Rows::from_fn(gate.len(), gate.width, |r, j| low.gated(gate.row(r)[j], up.row(r)[j]));
    Ok(Some(rows.into()))
}

impl Low {
    fn gated(self, gate: f64, up: f64) -> f64 {
        let low = |yes: bool, v: f64| if yes { round(v, self.dtype) } else { v };
        let x = low(self.gate, gate);
        let exp = low(self.steps, (-x).exp());
        let sum = low(self.steps, 1.0 + exp);
        let silu = round(if self.sigmoid { x * round(1.0 / sum, self.dtype) } else { x / sum }, self.dtype);
        low(self.product, silu * low(self.product, up))
    }
}

fn swapped(_: &Evidence<'_>, choice: &Gated) -> Result<Vec<Turned<Gated>>> {
    let says = "you compute silu(up) · gate; it is silu(gate) · up";
    let fix = "exchange the two: `candle_nn::ops::swiglu` wants [gate | up]";
    Ok(vec![Turned::new(Gated { swapped: true, ..choice.clone() }, says, fix)])
}

fn low(_: &Evidence<'_>, choice: &Gated) -> Result<Vec<Turned<Gated>>> {
    let mut turned = Vec::new();
    for dtype in [DType::BF16, DType::F16] {
        for way in 0..16u8 {
            let (steps, gate, product, sigmoid) = (way & 1 > 0, way & 2 > 0, way & 4 > 0, way & 8 > 0);
            let knobs = Gated { low: Some(Low { dtype, steps, sigmoid, gate, product }), ..choice.clone() };
            let says = format!("you compute silu in {}", dtype.as_str());
            let fix = "compute the activation in f32, and round its product with up once";
            turned.push(Turned::new(knobs, says, fix).rounding(dtype));
        }
    }
    Ok(turned)
}
