//! Finds values that overflowed float16: those larger than 65504.

use candle_core::DType;

use super::fit::Fit;
use super::{Evidence, Named};
use crate::compare::ulp;
use crate::graph::Operation;
use crate::oracle::{Rows, vector};

/// The largest float16 number divided by the spacing of float16 numbers in its binade.
const STEPS: f64 = 2047.0;

/// How many numbers of a product that was scaled to float16 and back must at least be on its grid.
const FEWEST_ON_GRID: usize = 12;

/// Names an overflow if the port's infinite entries are finite and past 65504 in the reference, and all other
/// entries are right. A tensor that was scaled to float16 and back overflows at another value than 65504. In
/// float32 that value follows from the grid of the finite numbers. Half precision rounds the grid away; the
/// message then only gives the smallest value that became infinite.
pub(super) fn named(e: &Evidence<'_>) -> Option<Named> {
    if e.context.site.kind.over_keys() {
        return None;
    }
    // A bias is added to the product, which may have overflowed before.
    let bias = bias(e);
    let plain = |rows: &Rows| {
        Rows::from_fn(rows.len(), rows.width, |r, j| {
            rows.row(r)[j] - bias.as_ref().map_or(0.0, |bias| bias[j])
        })
    };
    let (got, want) = (plain(&e.got), plain(&e.want));
    let mut overflow =
        Overflow { smallest_infinite: f64::INFINITY, largest_finite: 0.0, infinite: 0, residual: 0.0 };
    for r in 0..e.got.len() {
        let budget = e.budget(r, e.want.row(r)).max;
        for (&got, &want) in got.row(r).iter().zip(want.row(r)) {
            overflow.entry(got, want, budget)?;
        }
    }
    if overflow.infinite == 0
        || overflow.residual > 1.0
        || overflow.largest_finite > overflow.smallest_infinite * NEAR
    {
        return None;
    }
    let at = match e.context.dtype {
        DType::F16 | DType::BF16 => None, // too coarse to show a grid at another scale
        _ => Some(grid(&got, &overflow)?),
    };
    let Overflow { infinite, residual, smallest_infinite, .. } = overflow;
    let scale = at.map_or(String::new(), |at| {
        format!("; your scaling maps 65504, the largest float16 number, to {at:.5}")
    });
    let says = format!(
        "your tensor overflows float16: {infinite} value{} became infinite, all that are {smallest_infinite:.4} or \
         more in the reference{scale}",
        if infinite == 1 { "" } else { "s" }
    );
    Some(Named::new("f16-overflow", says).at(Fit { residual, flips: 0 }))
}

/// The bias of the site's own operation.
fn bias(e: &Evidence<'_>) -> Option<Vec<f64>> {
    let Operation::Linear(linear) = &e.node()?.operation else { return None };
    vector(e.context.weights, linear.bias.as_ref()?).ok()
}

/// The tolerance at the limit, because a number at the limit may be rounded to either side.
const NEAR: f64 = 1.0 + 1.0 / 1024.0;

/// What the entries of a tensor show about an overflow.
struct Overflow {
    /// The smallest reference magnitude among the entries that are infinite in the port.
    smallest_infinite: f64,
    /// The largest reference magnitude among the others.
    largest_finite: f64,
    infinite: usize,
    residual: f64,
}

impl Overflow {
    /// Counts one entry; `None` if it is neither right nor an overflow.
    fn entry(&mut self, got: f64, want: f64, budget: f64) -> Option<()> {
        if got.is_nan() || !want.is_finite() {
            return None;
        }
        if got.is_infinite() {
            self.infinite += 1;
            self.smallest_infinite = self.smallest_infinite.min(want.abs());
            return (got.signum() == want.signum()).then_some(());
        }
        // Entries that did not overflow were rounded to float16, at an unknown scale.
        let rounding = want.abs() * ulp(DType::F16);
        self.residual = self.residual.max((got - want).abs() / budget.max(rounding));
        self.largest_finite = self.largest_finite.max(want.abs());
        Some(())
    }
}

/// The value that 65504 has after scaling back; `None` unless all finite numbers are on float16's grid at one
/// scale and the end of that grid separates them from the infinite ones.
fn grid(got: &Rows, overflow: &Overflow) -> Option<f64> {
    let finite = || got.values.iter().map(|v| v.abs()).filter(|v| v.is_finite());
    let largest = finite().fold(0.0, f64::max);
    let fewest = (largest / overflow.smallest_infinite / NEAR * STEPS).floor().max(1024.0) as usize;
    (fewest..=STEPS as usize).rev().map(|steps| largest / steps as f64).find_map(|step| {
        let end = step * STEPS;
        // Each binade below the largest halves the spacing of the grid.
        let near = finite().filter(|v| *v > end / 16.0);
        let on_grid = |v: &f64| {
            let halves = ((end * NEAR) / v).log2().floor().max(0.0);
            let steps = v / step * halves.exp2();
            (steps - steps.round()).abs() < 0.02
        };
        let (on, all) = near.fold((0, 0), |(on, all), v| (on + usize::from(on_grid(&v)), all + 1));
        (all >= FEWEST_ON_GRID && on == all).then_some(end)
    })
}
