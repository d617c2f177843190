//! Values that pass float16's largest, 65504.

use candle_core::DType;

use super::fit::Fit;
use super::{Evidence, Named};
use crate::compare::ulp;

/// Steps of float16 from 0 to its largest number, in the binade of that.
const STEPS: f64 = 2047.0;

/// Of a product that was scaled to float16 and back, at least so many numbers must lie on its grid.
const SEEN: usize = 12;

/// What is infinite in the port's tensor is finite in truth, and past 65504; the rest is right. What was
/// scaled to float16 and back has 65504 at a scale of its own: in float32 that is read off the grid that the
/// finite numbers lie on; half precision rounds the grid away, and it is said from where on values are
/// infinite.
pub(super) fn named(e: &Evidence<'_>) -> Option<Named> {
    if e.red.site.kind.over_keys() {
        return None;
    }
    let mut seen = Seen { smallest_infinite: f64::INFINITY, largest_finite: 0.0, infinite: 0, residual: 0.0 };
    for r in 0..e.got.len() {
        let budget = e.budget(r, e.want.row(r)).max;
        for (&got, &want) in e.got.row(r).iter().zip(e.want.row(r)) {
            seen.entry(got, want, budget)?;
        }
    }
    if seen.infinite == 0 || seen.residual > 1.0 || seen.largest_finite > seen.smallest_infinite * NEAR {
        return None;
    }
    let at = match e.red.dtype {
        DType::F16 | DType::BF16 => None, // too coarse to show the grid of another scale
        _ => Some(grid(e, &seen)?),
    };
    let Seen { infinite, residual, smallest_infinite, .. } = seen;
    let scale = at.map_or(String::new(), |at| format!(", at a scale where 65504 is {at:.5}"));
    let says = format!(
        "{infinite} value{} became infinite, those past float16's largest: {smallest_infinite:.4} and up in \
         truth{scale}",
        if infinite == 1 { "" } else { "s" }
    );
    Some(Named::new("f16-overflow", says).at(Fit { residual, flips: 0 }))
}

/// A number on the edge may be rounded to either side.
const NEAR: f64 = 1.0 + 1.0 / 1024.0;

struct Seen {
    /// In truth.
    smallest_infinite: f64,
    /// In truth.
    largest_finite: f64,
    infinite: usize,
    residual: f64,
}

impl Seen {
    /// None where it is neither right nor an overflow.
    fn entry(&mut self, got: f64, want: f64, budget: f64) -> Option<()> {
        if got.is_nan() || !want.is_finite() {
            return None;
        }
        if got.is_infinite() {
            self.infinite += 1;
            self.smallest_infinite = self.smallest_infinite.min(want.abs());
            return (got.signum() == want.signum()).then_some(());
        }
        // What did not overflow was rounded to float16, at whatever scale.
        let rounding = want.abs() * ulp(DType::F16);
        self.residual = self.residual.max((got - want).abs() / budget.max(rounding));
        self.largest_finite = self.largest_finite.max(want.abs());
        Some(())
    }
}

/// What 65504 was before it was scaled back, if all finite numbers lie on float16's grid at one scale, and
/// its end parts them from those that are infinite.
fn grid(e: &Evidence<'_>, seen: &Seen) -> Option<f64> {
    let finite = || e.got.values.iter().map(|v| v.abs()).filter(|v| v.is_finite());
    let largest = finite().fold(0.0, f64::max);
    let fewest = (largest / seen.smallest_infinite / NEAR * STEPS).floor().max(1024.0) as usize;
    (fewest..=STEPS as usize).rev().map(|steps| largest / steps as f64).find_map(|step| {
        let end = step * STEPS;
        // In the binades below the first the grid is finer by as many halves.
        let near = finite().filter(|v| *v > end / 16.0);
        let on_grid = |v: &f64| {
            let halves = ((end * NEAR) / v).log2().floor().max(0.0);
            let steps = v / step * halves.exp2();
            (steps - steps.round()).abs() < 0.02
        };
        let (on, all) = near.fold((0, 0), |(on, all), v| (on + usize::from(on_grid(&v)), all + 1));
        (all >= SEEN && on == all).then_some(end)
    })
}
